"""BatchClaim and BatchRelease over memory: what is held, promised, refused, and what is stored with it."""

from __future__ import annotations

import pytest

from services.api import keys
from services.api.kinds import CAPACITY_CLAIMS
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimOutcome, ClaimRelease
from services.rpc.status import from_status
from services.storage.errors import KeyNotFound, QueueFull
from tests.unit.resource_partition.world import World, claim, held, held_pods, node, release, verdict


async def test_a_claim_that_fits_is_held_with_the_ledger_at_one_revision(world: World) -> None:
    await world.server.put_node(node("n"))
    (outcome,) = await world.server.claim(claim("p", cpu=1500))
    assert (outcome.state, outcome.pod_uid, outcome.node_name) == (ClaimOutcome.HELD, "p", "n")
    record = await world.claim_store.get(keys.key(CAPACITY_CLAIMS, "", "", "p"))
    ledger = await world.ledger_store.get("/ursa/capacityledgers/n")
    assert record.revision == ledger.revision
    stored = (await world.claims())["p"]
    assert stored.metadata.uid and stored.metadata.HasField("creation_timestamp")
    assert held(await world.ledger()) == 1500 and held_pods(await world.ledger()) == 1


async def test_items_are_decided_in_order_and_what_does_not_fit_is_refused_with_its_reason(world: World) -> None:
    await world.server.put_node(node("n", cpu="2"))
    outcomes = await world.server.claim(*(claim(f"p{n}") for n in range(3)))
    assert [verdict(outcome) for outcome in outcomes] == ["HELD", "HELD", "Insufficient"]
    assert outcomes[2].status.message == "Insufficient cpu"
    assert sorted(await world.claims()) == ["p0", "p1"]


async def test_a_claim_again_is_held_again_and_counted_once(world: World) -> None:
    await world.server.put_node(node("n"))
    assert await world.server.verdicts(claim("p"), claim("p")) == ["HELD", "HELD"]
    assert await world.server.verdicts(claim("p")) == ["HELD"]
    assert held(await world.ledger()) == 1000


async def test_a_newer_epoch_is_recorded_and_an_older_one_has_passed(world: World) -> None:
    await world.server.put_node(node("n"))
    (first,) = await world.server.claim(claim("p", epoch=1))
    assert first.state == ClaimOutcome.HELD
    (second,) = await world.server.claim(claim("p", epoch=3))
    assert (second.state, second.bind_epoch) == (ClaimOutcome.HELD, 3)
    assert (await world.claims())["p"].spec.bind_epoch == 3
    (late,) = await world.server.claim(claim("p", epoch=2))
    assert (verdict(late), late.bind_epoch) == ("EpochPassed", 3)
    assert held(await world.ledger()) == 1000


async def test_a_pod_with_a_claim_elsewhere_is_told_where(world: World) -> None:
    await world.server.put_node(node("n"))
    await world.server.put_node(node("m"))
    await world.server.claim(claim("p", "n", epoch=4))
    (outcome,) = await world.server.claim(claim("p", "m", epoch=5))
    assert (verdict(outcome), outcome.node_name, outcome.bind_epoch) == ("HeldElsewhere", "n", 4)
    assert held(await world.ledger("m")) == 0


async def test_of_two_claims_of_one_pod_in_one_batch_the_first_wins(world: World) -> None:
    await world.server.put_node(node("n"))
    await world.server.put_node(node("m"))
    outcomes = await world.server.claim(claim("p", "m"), claim("p", "n"), claim("q", "n"))
    assert [verdict(outcome) for outcome in outcomes] == ["HELD", "HeldElsewhere", "HELD"]
    assert outcomes[1].node_name == "m"


async def test_a_node_that_is_not_or_is_another_one_holds_nothing(world: World) -> None:
    await world.server.put_node(node("n", "uid-1"))
    outcomes = await world.server.verdicts(
        claim("a", "nowhere"), claim("b", node_uid="uid-0"), claim("c", node_uid="uid-1")
    )
    assert outcomes == ["NodeNotFound", "NodeChanged", "HELD"]


async def test_host_ports_are_taken_once(world: World) -> None:
    await world.server.put_node(node("n"))
    assert await world.server.verdicts(claim("a", port=80), claim("b", port=80), claim("c", port=81)) == [
        "HELD",
        "PortConflict",
        "HELD",
    ]
    (port,) = (await world.claims())["a"].spec.host_ports
    assert (port.protocol, port.host_ip) == ("TCP", "0.0.0.0")


async def test_bad_items_are_refused_each_with_its_field_and_change_nothing(world: World) -> None:
    await world.server.put_node(node("n"))
    nameless, negative, pods, port, itself, nowhere = (claim(f"bad{n}") for n in range(6))
    nameless.metadata.name = ""
    negative.spec.requests["cpu"] = -1
    negative.spec.bind_epoch = -2
    pods.spec.requests["pods"] = 1
    port.spec.host_ports.add(host_port=70_000, protocol="ICMP")
    itself.spec.replaces.extend(["bad4"])
    nowhere.spec.node_name = "No_Node"
    nowhere.spec.tenant = ""
    outcomes = await world.server.claim(nameless, negative, pods, port, itself, nowhere, claim("good"))
    fields = [[violation.field for violation in from_status(outcome.status).violations] for outcome in outcomes[:-1]]
    assert fields == [
        ["claims[0].metadata.name"],
        ["claims[1].spec.bindEpoch", "claims[1].spec.requests[cpu]"],
        ["claims[2].spec.requests[pods]"],
        ["claims[3].spec.hostPorts[0].hostPort", "claims[3].spec.hostPorts[0].protocol"],
        ["claims[4].spec.replaces[0]"],
        ["claims[5].spec.nodeName", "claims[5].spec.tenant"],
    ]
    assert {outcome.state for outcome in outcomes[:-1]} == {ClaimOutcome.REFUSED}
    assert outcomes[-1].state == ClaimOutcome.HELD
    assert list(await world.claims()) == ["good"]


async def test_a_known_template_lets_no_bad_name_pass(world: World) -> None:
    """Of such a pod nobody could ever say that it is gone."""
    await world.server.put_node(node("n"))
    assert await world.server.verdicts(claim("first")) == ["HELD"]
    bad = [claim(f"bad{number}") for number in range(7)]
    bad[0].spec.pod_name = ""
    bad[1].spec.pod_name = "Not_A_Name"
    bad[2].spec.node_uid = "no uid"
    bad[3].spec.tenant = "Not/A/Tenant"
    bad[4].spec.namespace = "a.b"
    bad[5].spec.tenant_partition = "tp 1"
    bad[6].spec.node_name = "n/n"
    outcomes = await world.server.claim(*bad, claim("good"))
    fields = [[violation.field for violation in from_status(outcome.status).violations] for outcome in outcomes[:-1]]
    shown = ("podName", "podName", "nodeUID", "tenant", "namespace", "tenantPartition", "nodeName")
    assert fields == [[f"claims[{number}].spec.{field}"] for number, field in enumerate(shown)]
    assert outcomes[-1].state == ClaimOutcome.HELD
    assert sorted(await world.claims()) == ["first", "good"]


async def test_a_release_gives_the_room_back_and_is_safe_to_repeat(world: World) -> None:
    await world.server.put_node(node("n", cpu="1"))
    await world.server.claim(claim("p"))
    assert await world.server.verdicts(claim("q")) == ["Insufficient"]
    assert await world.server.release(release("p"), release("never")) == ["", ""]
    assert await world.server.release(release("p")) == [""]
    assert await world.server.verdicts(claim("q")) == ["HELD"]


async def test_a_fact_that_does_not_end_the_claim_leaves_it(world: World) -> None:
    await world.server.put_node(node("n"))
    await world.server.claim(claim("p", epoch=5))
    assert await world.server.release(
        release("p", ClaimRelease.REVOKED, epoch=4), release("p", ClaimRelease.BOUND_ELSEWHERE, node_name="n")
    ) == ["ClaimStays", "ClaimStays"]
    assert held(await world.ledger()) == 1000
    assert await world.server.release(release("p", ClaimRelease.REVOKED, epoch=5)) == [""]
    assert held(await world.ledger()) == 0


async def test_a_bad_release_names_its_field_and_leaves_the_others_alone(world: World) -> None:
    await world.server.put_node(node("n"))
    await world.server.claim(claim("p"))
    answers = await world.server.release(release("p", ClaimRelease.FACT_UNSPECIFIED), release(""), release("p"))
    assert answers == ["Invalid", "Invalid", ""]


async def test_a_claim_that_replaces_is_promised_and_held_once_its_victims_have_ended(world: World) -> None:
    await world.server.put_node(node("n", cpu="2"))
    await world.server.claim(claim("v1"), claim("v2"))
    preemptor = claim("p", cpu=2000, replaces=("v1", "v2"))
    assert await world.server.verdicts(preemptor) == ["PROMISED"]
    assert await world.server.verdicts(claim("thief", cpu=500)) == ["Insufficient"]
    assert await world.server.release(release("v1")) == [""]
    assert await world.server.verdicts(claim("thief", cpu=500)) == ["Insufficient"]
    assert await world.server.verdicts(preemptor) == ["PROMISED"]
    assert await world.server.release(release("v2")) == [""]
    assert await world.server.verdicts(preemptor) == ["HELD"]
    ledger = await world.ledger()
    assert held(ledger) == 2000 and not ledger.promises


async def test_victims_that_are_gone_already_give_nothing_and_hold_nobody_up(world: World) -> None:
    await world.server.put_node(node("n", cpu="2"))
    await world.server.claim(claim("v1"))
    await world.server.release(release("v1"))
    assert await world.server.verdicts(claim("p", cpu=2000, replaces=("v1", "never"))) == ["HELD"]


async def test_a_request_and_its_release_in_any_mixture_leave_the_sum_of_the_claims(world: World) -> None:
    await world.server.put_node(node("n", cpu="100", pods="200"))
    for turn in range(5):
        await world.server.claim(*(claim(f"{turn}-{n}", cpu=100) for n in range(20)))
        await world.server.release(*(release(f"{turn}-{n}") for n in range(0, 20, 2)))
    assert len(await world.claims()) == 50
    assert (held(await world.ledger()), held_pods(await world.ledger())) == (5000, 50)


async def test_while_the_store_cannot_be_reached_nothing_is_said_to_be_refused(world: World) -> None:
    await world.server.put_node(node("n"))
    world.backend.available = False
    (outcome,) = await world.server.claim(claim("p"))
    assert outcome.state == ClaimOutcome.STATE_UNSPECIFIED
    assert from_status(outcome.status).reason == "ServiceUnavailable"
    world.backend.available = True
    assert await world.server.verdicts(claim("p")) == ["HELD"]


async def test_what_may_wait_is_bounded(world: World) -> None:
    with pytest.raises(QueueFull):
        world.server.desks.check_room(100_001)


async def test_the_node_ledger_follows_the_node(world: World) -> None:
    await world.server.put_node(node("n", cpu="1"))
    await world.server.claim(claim("p"))
    await world.server.put_node(node("n", cpu="2"))
    assert (await world.ledger()).allocatable["cpu"] == 2000
    assert await world.server.verdicts(claim("q")) == ["HELD"]
    revision = (await world.ledger_store.get("/ursa/capacityledgers/n")).revision
    await world.server.put_node(node("n", cpu="2"))
    assert (await world.ledger_store.get("/ursa/capacityledgers/n")).revision == revision, "nothing changed for it"


async def test_a_ledger_outlives_its_node_while_it_has_claims_and_counts_them_for_the_next(world: World) -> None:
    await world.server.put_node(node("n", "uid-1", cpu="2"))
    await world.server.claim(claim("p"))
    await world.server.delete_node("n")
    assert (await world.ledger()).node_uid == ""
    assert await world.server.verdicts(claim("q")) == ["NodeNotFound"]
    await world.server.put_node(node("n", "uid-2", cpu="2"))
    ledger = await world.ledger()
    assert (ledger.node_uid, held(ledger)) == ("uid-2", 1000)
    assert await world.server.verdicts(claim("q"), claim("r")) == ["HELD", "Insufficient"]
    await world.server.release(release("p"), release("q"))
    await world.server.delete_node("n")
    with pytest.raises(KeyNotFound):
        await world.ledger()


async def test_the_last_release_after_the_node_takes_the_ledger_away(world: World) -> None:
    await world.server.put_node(node("n"))
    await world.server.claim(claim("p"))
    await world.server.delete_node("n")
    assert await world.server.release(release("p")) == [""]
    with pytest.raises(KeyNotFound):
        await world.ledger()
    assert await world.claims() == {}
