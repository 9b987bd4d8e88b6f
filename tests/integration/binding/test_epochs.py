"""The fence of binds: what an epoch lets commit, what a revocation tells, and two servers that race."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.client.clientset import Clientset
from tests.integration.apiserver.world import binding, pod, refused
from tests.integration.binding.conftest import Pair

pytestmark = pytest.mark.etcd

State = RevocationOutcome.State


def bind_of(created: Any, node: str = "n1", epoch: int = 0, *, claimed: bool = True) -> Binding:
    found = binding(created.metadata.tenant, created.metadata.name, node, uid=created.metadata.uid)
    found.bind_epoch, found.capacity_claimed = epoch, claimed
    return found


def revocation_of(created: Any, epoch: int = 0) -> PodRevocation:
    metadata = created.metadata
    return PodRevocation(
        tenant=metadata.tenant, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid, bind_epoch=epoch
    )


async def revoke(clients: Clientset, created: Any, epoch: int = 0) -> RevocationOutcome:
    outcomes = await clients.pods.batch_revoke_bind([revocation_of(created, epoch)])
    assert len(outcomes) == 1
    return outcomes[0]


async def test_a_bind_of_the_current_epoch_commits_and_says_that_it_was_claimed_for(pair: Pair) -> None:
    created = await pair.create()
    bound = await pair.one.pods.bind(bind_of(created))
    assert (bound.spec.node_name, bound.spec.capacity_claimed, bound.spec.bind_epoch) == ("n1", True, 0)
    assert bound.metadata.generation == created.metadata.generation
    by_hand = await pair.create("by-hand")
    assert not (await pair.one.pods.bind(bind_of(by_hand, claimed=False))).spec.capacity_claimed


async def test_a_revoked_epoch_binds_no_more_and_the_next_one_does(pair: Pair) -> None:
    created = await pair.create()
    outcome = await revoke(pair.one, created)
    assert (outcome.state, outcome.bind_epoch, outcome.uid) == (State.REVOKED, 1, created.metadata.uid)
    error = await refused(pair.other.pods.bind(bind_of(created)))
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "EpochPassed")
    assert (error.metadata["cause"], error.metadata["bindEpoch"]) == ("EpochPassed", "1")
    ahead = await refused(pair.other.pods.bind(bind_of(created, epoch=2)))
    assert (ahead.reason, ahead.metadata["cause"]) == ("Conflict", "EpochAhead")
    assert (await pair.other.pods.bind(bind_of(created, epoch=1))).spec.node_name == "n1"
    assert (await pair.get()).metadata.generation == created.metadata.generation


async def test_a_revocation_again_raises_nothing(pair: Pair) -> None:
    created = await pair.create()
    first = await revoke(pair.one, created, 4)
    version = (await pair.get()).metadata.resource_version
    again = await revoke(pair.other, created, 4)
    lower = await revoke(pair.one, created, 2)
    assert [found.bind_epoch for found in (first, again, lower)] == [5, 5, 5]
    assert (await pair.get()).metadata.resource_version == version


async def test_what_a_revocation_tells_of_a_pod_that_is_not_merely_unbound(pair: Pair) -> None:
    bound = await pair.create("bound")
    await pair.one.pods.bind(bind_of(bound, "n7"))
    told = await revoke(pair.other, bound)
    assert (told.state, told.node_name, told.resource_partition) == (State.BOUND, "n7", "rp-1")

    ended = await pair.create("ended")
    ended.status.phase = "Failed"
    await pair.one.pods.update_status(ended)
    assert (await revoke(pair.other, ended)).state == State.TERMINAL

    gone = await pair.create("gone")
    await pair.one.pods.delete("gone", tenant=pair.tenant, namespace="default")
    assert (await revoke(pair.other, gone)).state == State.ABSENT
    followed = await pair.create("gone")
    assert (await revoke(pair.other, gone)).state == State.ABSENT
    assert (await pair.get("gone")).spec.bind_epoch == 0
    assert followed.metadata.uid != gone.metadata.uid


async def test_a_revocation_that_proves_nothing_says_so(pair: Pair) -> None:
    created = await pair.create()
    nameless, absent, without_uid = revocation_of(created), revocation_of(created), revocation_of(created)
    nameless.name = ""
    without_uid.uid = ""
    absent.tenant = "no-such-tenant"
    outcomes = await pair.one.pods.batch_revoke_bind([nameless, without_uid, absent])
    states = [outcome.state for outcome in outcomes]
    assert states == [State.STATE_UNSPECIFIED, State.STATE_UNSPECIFIED, State.ABSENT]
    assert [outcome.HasField("status") for outcome in outcomes] == [True, True, False]


async def test_the_facts_of_a_large_batch_are_as_of_the_request_though_the_cache_has_not_seen_them(pair: Pair) -> None:
    """Each server's cache follows by itself: what one acknowledged, the other's revocation must know."""
    created = await asyncio.gather(*(pair.create(f"p-{number}") for number in range(60)))
    for turn in range(0, 60, 20):
        mine = created[turn : turn + 20]
        await pair.one.pods.batch_bind([bind_of(each, "n1") for each in mine[:10]])
        await asyncio.gather(
            *(
                pair.one.pods.delete(each.metadata.name, tenant=pair.tenant, namespace="default", uid=each.metadata.uid)
                for each in mine[10:]
            )
        )
        outcomes = await pair.other.pods.batch_revoke_bind([revocation_of(each) for each in mine])
        assert [outcome.state for outcome in outcomes] == [State.BOUND] * 10 + [State.ABSENT] * 10


async def test_of_a_bind_and_a_revocation_on_two_servers_exactly_one_wins(pair: Pair) -> None:
    pods = await asyncio.gather(*(pair.create(f"p-{number}") for number in range(40)))
    binds, revocations = await asyncio.gather(
        pair.one.pods.batch_bind([bind_of(each) for each in pods]),
        pair.other.pods.batch_revoke_bind([revocation_of(each) for each in pods]),
    )
    for created, bind, told in zip(pods, binds, revocations, strict=True):
        stored = await pair.get(created.metadata.name)
        if bind.status is None:
            assert told.state == State.BOUND
            assert (stored.spec.node_name, stored.spec.bind_epoch) == ("n1", 0)
        else:
            assert bind.status.reason == "EpochPassed"
            assert (told.state, stored.spec.node_name, stored.spec.bind_epoch) == (State.REVOKED, "", 1)


async def test_two_binds_of_one_epoch_on_two_servers_bind_once(pair: Pair) -> None:
    pods = await asyncio.gather(*(pair.create(f"p-{number}") for number in range(40)))
    outcomes = await asyncio.gather(
        pair.one.pods.batch_bind([bind_of(each, "n1") for each in pods]),
        pair.other.pods.batch_bind([bind_of(each, "n2") for each in pods]),
    )
    for created, first, second in zip(pods, *outcomes, strict=True):
        node = (await pair.get(created.metadata.name)).spec.node_name
        assert (first.status is None, second.status is None) == (node == "n1", node == "n2")
        lost = second.status if node == "n1" else first.status
        assert lost is not None
        assert (lost.metadata["cause"], lost.metadata["nodeName"]) == ("BoundElsewhere", node)


async def test_a_bind_whose_answer_was_lost_is_a_success_when_sent_again(pair: Pair) -> None:
    created = await pair.create()
    first = await pair.one.pods.bind(bind_of(created))
    again = await pair.other.pods.bind(bind_of(created))
    assert again.metadata.resource_version == first.metadata.resource_version
    # Even by somebody who has another epoch in mind, or while the pod is being deleted: it is where it was to be.
    assert (await pair.other.pods.bind(bind_of(created, epoch=3))).spec.bind_epoch == 0
    await pair.one.pods.delete("web", tenant=pair.tenant, namespace="default")
    assert (await pair.other.pods.bind(bind_of(created))).spec.node_name == "n1"


async def test_definite_refusals_name_their_cause(pair: Pair) -> None:
    ended = await pair.create("ended")
    ended.status.phase = "Succeeded"
    await pair.one.pods.update_status(ended)
    assert (await refused(pair.one.pods.bind(bind_of(ended)))).metadata["cause"] == "Terminal"

    kept = pod(pair.tenant, "kept")
    kept.metadata.finalizers.append("example.com/keep")
    deleting = await pair.one.pods.create(kept)
    await pair.one.pods.delete("kept", tenant=pair.tenant, namespace="default")
    assert (await refused(pair.one.pods.bind(bind_of(deleting)))).metadata["cause"] == "BeingDeleted"

    other = await pair.create("other")
    other.metadata.uid = "not-this-one"
    assert (await refused(pair.one.pods.bind(bind_of(other)))).metadata["cause"] == "OtherUID"


async def test_clients_cannot_set_what_binding_owns(pair: Pair) -> None:
    wanted = pod(pair.tenant)
    wanted.spec.bind_epoch, wanted.spec.capacity_claimed = 9, True
    created = await pair.one.pods.create(wanted)
    assert (created.spec.bind_epoch, created.spec.capacity_claimed) == (0, False)
    await revoke(pair.one, created)
    created.metadata.ClearField("resource_version")
    created.metadata.labels["tier"] = "web"
    created.spec.bind_epoch, created.spec.capacity_claimed = 7, True
    updated = await pair.one.pods.update(created)
    assert (updated.spec.bind_epoch, updated.spec.capacity_claimed) == (1, False)
    assert (updated.metadata.labels["tier"], updated.metadata.generation) == ("web", 1)
    patch = '{"spec": {"bindEpoch": 5, "capacityClaimed": true}, "metadata": {"labels": {"tier": "db"}}}'
    patched = await pair.one.pods.patch("web", patch, tenant=pair.tenant, namespace="default")
    assert (patched.spec.bind_epoch, patched.spec.capacity_claimed) == (1, False)
    assert (patched.metadata.labels["tier"], patched.metadata.generation) == ("db", 1)


async def test_a_pod_that_has_ended_stays_so(pair: Pair) -> None:
    created = await pair.create()
    created.status.phase = "Failed"
    ended = await pair.one.pods.update_status(created)
    ended.status.phase = "Running"
    error = await refused(pair.one.pods.update_status(ended))
    assert (error.code, error.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "status.phase")


async def test_a_nomination_names_its_partition_with_its_node(pair: Pair) -> None:
    created = await pair.create()
    created.status.nominated_resource_partition = "rp-1"
    error = await refused(pair.one.pods.update_status(created))
    assert error.violations[0].field == "status.nominatedNodeName"
    created.status.nominated_node_name = "n1"
    nominated = await pair.one.pods.update_status(created)
    assert nominated.status.nominated_resource_partition == "rp-1"
    nominated.status.nominated_resource_partition = "not/one"
    error = await refused(pair.one.pods.update_status(nominated))
    assert error.violations[0].field == "status.nominatedResourcePartition"
