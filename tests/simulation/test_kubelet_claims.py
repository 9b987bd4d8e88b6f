"""Hosts that claim for pods before they start them: partitions that are down, answers that are lost, restarts."""

from __future__ import annotations

import grpc

from services.api.kinds import PODS
from services.rpc import status
from services.rpc.status import StatusError
from tests.support.kubelet_world import KubeletWorld


async def test_pods_bound_by_hand_are_claimed_for_in_one_batch_and_run() -> None:
    world = KubeletWorld(nodes=4)
    for number in range(40):
        world.bind(f"p-{number}", node_name=f"rp-1-n000{number % 4}", claimed=False)
    async with world.running():
        await world.until(lambda: all(world.phase(f"p-{number}") == "Running" for number in range(40)), seconds=2)
    batches = world.rps[0].called("BatchClaim")
    assert sum(len(batch.claims) for batch in batches) == 40
    assert len(batches) <= 5, "pods of all nodes of the host share batches"


async def test_what_a_binding_says_of_a_claim_is_verified() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        full = StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Insufficient", "Too many pods")
        made = world.bind("p", node_name="rp-1-n0009", claimed=True)
        world.rps[0].refuse_claim(made.metadata.uid, full)
        made.spec.node_name = "rp-1-n0000"
        world.tps[0].put(PODS, made)
        await world.until(lambda: world.phase("p") == "Failed", seconds=2)
    assert world.pod("p").status.reason == "OutOfpods"
    assert world.started() == []


async def test_a_resource_partition_that_is_down_keeps_the_pod_waiting() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        world.rps[0].go_down()
        world.bind("by-hand", claimed=False)
        world.bind("scheduled")
        await world.clock.advance(60)
        assert {world.phase(name) for name in ("by-hand", "scheduled")} == {"Pending"}
        world.rps[0].come_back()
        await world.until(lambda: all(world.phase(name) == "Running" for name in ("by-hand", "scheduled")), seconds=10)


async def test_a_lost_answer_is_asked_for_again() -> None:
    world = KubeletWorld(nodes=1)
    world.rps[0].refuse_next("BatchClaim", status.unavailable("connection lost"))
    async with world.running():
        world.bind("p", claimed=False)
        await world.until(lambda: world.phase("p") == "Running", seconds=10)
    assert len(world.rps[0].called("BatchClaim")) == 2


async def test_a_refused_claim_fails_the_pod_as_admission_would() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        full = StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Insufficient", "Too many pods")
        made = world.bind("p", node_name="rp-1-n0009", claimed=False)
        world.rps[0].refuse_claim(made.metadata.uid, full)
        made.spec.node_name = "rp-1-n0000"
        world.tps[0].put(PODS, made)
        await world.until(lambda: world.phase("p") == "Failed", seconds=2)
        assert world.pod("p").status.reason == "OutOfpods"


async def test_a_claim_on_another_node_ends_because_the_pod_is_bound_here() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        made = world.bind("p", node_name="rp-1-n0009", claimed=False)
        elsewhere = StatusError(grpc.StatusCode.ABORTED, "HeldElsewhere", "on another node")
        world.rps[0].refuse_claim(made.metadata.uid, elsewhere)
        made.spec.node_name = "rp-1-n0000"
        world.tps[0].put(PODS, made)
        await world.until(lambda: world.phase("p") == "Running", seconds=10)
        [release] = [item for request in world.rps[0].called("BatchRelease") for item in request.releases]
        assert (release.pod_uid, release.node_name) == (made.metadata.uid, "rp-1-n0000")


async def test_a_node_that_is_not_registered_yet_is_waited_for() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        made = world.bind("p", node_name="rp-1-n0009", claimed=False)
        missing = StatusError(grpc.StatusCode.NOT_FOUND, "NodeNotFound", "no such node")
        world.rps[0].refuse_claim(made.metadata.uid, missing)
        made.spec.node_name = "rp-1-n0000"
        world.tps[0].put(PODS, made)
        await world.clock.advance(20)
        assert world.phase("p") == "Pending"
        world.rps[0].refuse_claim(made.metadata.uid, None)
        await world.until(lambda: world.phase("p") == "Running", seconds=10)


async def test_a_restarted_host_claims_again_and_disturbs_nothing() -> None:
    world = KubeletWorld(nodes=1)
    async with world.running():
        world.bind("p", claimed=False)
        await world.until(lambda: world.phase("p") == "Running", seconds=2)
    uid = world.pod("p").metadata.uid
    async with world.running():
        await world.clock.advance(5)
        assert world.phase("p") == "Running"
    claimed = [claim.metadata.name for request in world.rps[0].called("BatchClaim") for claim in request.claims]
    assert claimed == [uid, uid]
    assert world.started() == [uid]


async def test_many_deletions_are_confirmed_in_few_batches() -> None:
    world = KubeletWorld(nodes=2)
    async with world.running():
        for number in range(60):
            world.bind(f"p-{number}", node_name=f"rp-1-n000{number % 2}")
        await world.until(lambda: all(world.phase(f"p-{number}") == "Running" for number in range(60)), seconds=2)
        world.tps[0].refuse_next("BatchDelete", status.unavailable("connection lost"))
        for number in range(60):
            await world.delete(f"p-{number}")
        await world.until(lambda: all(world.pod(f"p-{number}") is None for number in range(60)), seconds=10)
        assert len(world.tps[0].called("BatchDelete")) <= 6


async def test_a_trickle_is_claimed_reported_and_removed_by_the_handful_and_a_lone_pod_at_once() -> None:
    world = KubeletWorld(nodes=4, tenant=1)
    async with world.running():
        await world.clock.advance(1.0)
        world.bind("alone")
        await world.clock.advance(0.01)
        assert world.phase("alone") == "Running", "no period is waited for"
        await world.clock.advance(1.0)
        claims, statuses = (len(world.rps[0].called("BatchClaim")), len(world.tps[0].called("BatchUpdateStatus")))
        for number in range(60):
            world.bind(f"p-{number}", node_name=f"rp-1-n000{number % 4}")
            await world.clock.advance(0.01)
        await world.until(lambda: all(world.phase(f"p-{number}") == "Running" for number in range(60)), seconds=1)
        timing = world.config.timing
        assert 5 <= len(world.rps[0].called("BatchClaim")) - claims <= 600 / timing.claim_gather_ms + 2
        assert 5 <= len(world.tps[0].called("BatchUpdateStatus")) - statuses <= 600 / timing.status_gather_ms + 2
        for number in range(60):
            await world.delete(f"p-{number}")
            await world.clock.advance(0.01)
        await world.until(lambda: all(world.pod(f"p-{number}") is None for number in range(60)), seconds=60)
        assert len(world.tps[0].called("BatchDelete")) <= 600 / timing.status_gather_ms + 3
