"""A server whose caches are late decides as if they were not: what they show is a guess until the store has agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.base.tasks import Supervisor
from tests.unit.resource_partition.world import Server, World, claim, held, node, release


@pytest.fixture
async def late(world: World) -> AsyncIterator[Server]:
    server, _ = world.make_lagging_server()
    async with Supervisor() as tasks:
        tasks.start(server.desks.run(), name="claims")
        yield server


async def test_a_claim_that_another_server_holds_is_not_refused(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="1"))
    await world.server.claim(claim("p"))
    assert await late.verdicts(claim("p"), claim("q")) == ["HELD", "Insufficient"]
    assert held(await world.ledger()) == 1000


async def test_room_that_another_server_has_freed_is_given(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="1"))
    assert await late.verdicts(claim("p")) == ["HELD"]
    await world.server.release(release("p"))
    assert await late.verdicts(claim("q")) == ["HELD"]


async def test_a_claim_that_another_server_has_released_is_not_held_by_memory(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="1"))
    assert await late.verdicts(claim("p")) == ["HELD"]
    await world.server.release(release("p"))
    await world.server.claim(claim("q"))
    assert await late.verdicts(claim("p")) == ["Insufficient"]
    assert sorted(await world.claims()) == ["q"]


async def test_a_claim_that_has_moved_is_told_where_it_is_now(world: World, late: Server) -> None:
    for name in ("n", "m", "o"):
        await world.server.put_node(node(name))
    assert await late.verdicts(claim("p", "n")) == ["HELD"]
    await world.server.release(release("p"))
    await world.server.claim(claim("p", "m"))
    (outcome,) = await late.claim(claim("p", "o"))
    assert outcome.node_name == "m"
    await world.server.release(release("p"))
    assert await late.verdicts(claim("p", "o")) == ["HELD"]


async def test_a_victim_that_has_ended_elsewhere_is_not_waited_for(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="2"))
    assert await late.verdicts(claim("v"), claim("w")) == ["HELD", "HELD"]
    await world.server.release(release("v"), release("w"))
    assert await late.verdicts(claim("p", cpu=2000, replaces=("v", "w"))) == ["HELD"]
    assert held(await world.ledger()) == 2000


async def test_a_victim_that_only_another_server_has_seen_is_waited_for(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="1"))
    await world.server.claim(claim("v"))
    assert await late.verdicts(claim("p", replaces=("v",))) == ["PROMISED"]
    await world.server.release(release("v"))
    assert await late.verdicts(claim("p", replaces=("v",))) == ["HELD"]


async def test_a_promise_is_not_taken_for_a_claim_that_is_held(world: World, late: Server) -> None:
    await world.server.put_node(node("n", cpu="1"))
    assert await late.verdicts(claim("v")) == ["HELD"]
    assert await world.server.verdicts(claim("p", replaces=("v",))) == ["PROMISED"]
    assert await late.verdicts(claim("p")) == ["PROMISED"]


async def test_a_release_of_a_claim_that_the_cache_does_not_show_ends_it(world: World, late: Server) -> None:
    await world.server.put_node(node("n"))
    await world.server.claim(claim("p"))
    assert await late.release(release("p")) == [""]
    assert held(await world.ledger()) == 0 and await world.claims() == {}


async def test_a_release_goes_by_the_epoch_that_the_store_has(world: World, late: Server) -> None:
    await world.server.put_node(node("n"))
    assert await late.verdicts(claim("p", epoch=1)) == ["HELD"]
    await world.server.claim(claim("p", epoch=3))
    assert await late.release(release("p", ClaimRelease.REVOKED, epoch=1)) == ["ClaimStays"]
    assert await late.release(release("p", ClaimRelease.REVOKED, epoch=3)) == [""]


async def test_a_node_that_was_deleted_and_made_anew_elsewhere_is_the_new_one(world: World, late: Server) -> None:
    await late.put_node(node("n", "uid-1", cpu="4"))
    assert await late.verdicts(claim("p")) == ["HELD"]
    await world.server.delete_node("n")
    assert await late.verdicts(claim("q")) == ["NodeNotFound"]
    await world.server.put_node(node("n", "uid-2", cpu="2"))
    assert await late.verdicts(claim("q", node_uid="uid-1"), claim("r", node_uid="uid-2")) == ["NodeChanged", "HELD"]
    assert await late.verdicts(claim("s")) == ["Insufficient"]


async def test_a_cache_that_shows_what_is_known_to_have_ended_is_not_asked_for_ever(world: World) -> None:
    server, (_, claims, _) = world.make_lagging_server()
    for name in ("n", "m"):
        await world.server.put_node(node(name, cpu="1"))
    await world.server.claim(claim("other", "n"), claim("p", "m"))
    await claims.catch_up()  # as new as the ledger of n, and it goes on showing p on m
    await world.server.release(release("p"))
    async with Supervisor() as tasks:
        tasks.start(server.desks.run(), name="claims")
        assert await server.verdicts(claim("p", "n")) == ["Insufficient"]
