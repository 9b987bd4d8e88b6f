"""Deletion of pods in batches: each as Delete has it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from tests.integration.apiserver.world import binding, pod, refused
from tests.integration.binding.conftest import Pair

pytestmark = pytest.mark.etcd


def deletion(created: Any, *, uid: str = "", grace_s: int | None = None) -> DeleteRequest:
    metadata = created.metadata
    request = DeleteRequest(
        tenant=metadata.tenant, namespace=metadata.namespace, name=metadata.name, grace_period_seconds=grace_s
    )
    request.preconditions.uid = uid
    return request


async def test_each_item_has_the_outcome_that_delete_would_have(pair: Pair) -> None:
    unbound = await pair.create("unbound")
    bound = await pair.create("bound")
    final = await pair.create("final")
    other = await pair.create("other")
    for each in (bound, final):
        await pair.one.pods.bind(binding(pair.tenant, each.metadata.name, "n1"))
    kept = pod(pair.tenant, "kept")
    kept.metadata.finalizers.append("example.com/keep")
    kept = await pair.one.pods.create(kept)
    missing = pod(pair.tenant, "missing")
    outcomes = await pair.other.pods.batch_delete(
        [
            deletion(unbound),
            deletion(bound),
            deletion(final, uid=final.metadata.uid, grace_s=0),
            deletion(other, uid="another"),
            deletion(missing),
            deletion(kept),
            deletion(unbound, grace_s=-1),
        ]
    )
    reasons = [outcome.status.reason if outcome.status else "" for outcome in outcomes]
    assert reasons == ["", "", "", "Conflict", "NotFound", "", "Invalid"]
    assert [outcome.resource_version > 0 for outcome in outcomes] == [False, True, False, False, False, True, False]
    assert outcomes[0].uid == unbound.metadata.uid
    terminating = await pair.get("bound")
    assert terminating.metadata.deletion_grace_period_seconds == 30
    assert terminating.metadata.resource_version == outcomes[1].resource_version
    for name in ("unbound", "final"):
        assert (await refused(pair.get(name))).reason == "NotFound"
    assert (await pair.get("other")).metadata.uid == other.metadata.uid


async def test_one_pod_twice_in_a_batch_is_deleted_once(pair: Pair) -> None:
    created = await pair.create()
    first, second = await pair.one.pods.batch_delete([deletion(created), deletion(created)])
    assert first.status is None
    assert second.status is not None
    assert second.status.reason == "NotFound"


async def test_two_servers_that_delete_the_same_pods_delete_each_once(pair: Pair) -> None:
    pods = await asyncio.gather(*(pair.create(f"p-{number}") for number in range(30)))
    both = await asyncio.gather(
        pair.one.pods.batch_delete([deletion(each) for each in pods]),
        pair.other.pods.batch_delete([deletion(each) for each in pods]),
    )
    for one, other in zip(*both, strict=True):
        reasons = sorted(found.status.reason if found.status else "" for found in (one, other))
        assert reasons == ["", "NotFound"]
