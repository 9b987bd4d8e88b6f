"""Bad input gets a clear error and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from services.api import kinds
from services.api.pb.ursa.core.v1.pod_service_pb2 import CreatePodRequest
from services.rpc import methods
from tests.integration.apiserver.world import World, named, pod, refused

pytestmark = pytest.mark.etcd


def with_request(quantity: str) -> Callable[[Any], None]:
    def change(obj: Any) -> None:
        obj.spec.containers[0].resources.requests["cpu"] = quantity

    return change


def with_field(path: str, value: Any) -> Callable[[Any], None]:
    def change(obj: Any) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            obj = getattr(obj, parent)
        setattr(obj, last, value)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (with_field("metadata.name", "Bad_Name"), "metadata.name"),
        (with_field("metadata.name", "x" * 254), "metadata.name"),
        (with_field("metadata.name", ""), "metadata.name"),
        (with_field("metadata.name", "a/b"), "metadata.name"),
        (with_field("metadata.tenant", ""), "metadata.tenant"),
        (with_field("metadata.tenant", "*"), "metadata.tenant"),
        (with_field("metadata.tenant", "a/b"), "tenant"),
        (with_field("metadata.namespace", ""), "metadata.namespace"),
        (with_field("metadata.resource_version", 7), "metadata.resourceVersion"),
        (with_field("kind", "Node"), "kind"),
        (with_field("api_version", "v2"), "apiVersion"),
        (with_field("spec.restart_policy", "Sometimes"), "spec.restartPolicy"),
        (with_request("-1"), "spec.containers[0].resources.requests[cpu]"),
        (with_request("1e99"), "spec.containers[0].resources.requests[cpu]"),
        (with_request("many"), "spec.containers[0].resources.requests[cpu]"),
        (lambda obj: obj.metadata.labels.update({"-": "x"}), "metadata.labels[-]"),
        (lambda obj: obj.spec.ClearField("containers"), "spec.containers"),
    ],
)
async def test_a_bad_pod_is_refused_by_field(
    world: World, acme: str, change: Callable[[Any], None], field: str
) -> None:
    bad = pod(acme)
    change(bad)
    error = await refused(world.pods.create(bad))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [violation.field for violation in error.violations], error.violations
    assert (await world.pods.list(tenant=acme)).items == []


async def test_the_types_name_is_accepted_and_not_stored(world: World, acme: str) -> None:
    typed = pod(acme)
    typed.api_version, typed.kind = "v1", "Pod"
    created = await world.pods.create(typed)
    assert (created.api_version, created.kind) == ("", "")


async def test_an_unknown_field_is_refused_with_its_path(world: World, acme: str) -> None:
    bad = pod(acme)
    bad.spec.containers[0].MergeFromString(b"\x9a\x3f\x01x")  # field 1011, bytes "x"
    error = await refused(
        world.tp.raw(methods.path(kinds.PODS, "Create"), CreatePodRequest(object=bad).SerializeToString())
    )
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["object.spec.containers[0].#1011"]


async def test_what_is_no_message_is_refused(world: World) -> None:
    error = await refused(world.tp.raw(methods.path(kinds.PODS, "Create"), b"\xff\xff\xff"))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "ursa.core.v1.CreatePodRequest" in error.message


@pytest.mark.parametrize(("size_bytes", "what", "limit"), [(2 << 20, "object", 1 << 20), (5 << 20, "request", 4 << 20)])
async def test_what_is_too_large_is_refused_with_the_limit(
    world: World, acme: str, size_bytes: int, what: str, limit: int
) -> None:
    bad = pod(acme)
    # Not in metadata, whose own limit is lower.
    bad.spec.containers[0].args.append("x" * size_bytes)
    error = await refused(world.pods.create(bad))
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RequestEntityTooLarge")
    assert error.violations[0].field == what
    assert str(limit) in error.message
    assert (await world.pods.list(tenant=acme)).items == []


async def test_a_batch_with_an_object_that_is_too_large_commits_the_rest(world: World, acme: str) -> None:
    bad = pod(acme, "fat")
    bad.spec.containers[0].args.append("x" * (2 << 20))
    outcomes = await world.pods.batch_create([pod(acme, "a"), bad, pod(acme, "b")])
    assert [outcome.status.reason if outcome.status else "" for outcome in outcomes] == [
        "",
        "RequestEntityTooLarge",
        "",
    ]


async def test_an_unknown_tenant_and_namespace_are_named(world: World, acme: str) -> None:
    error = await refused(world.pods.create(pod("nobody")))
    assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, 'tenants "nobody" not found')
    error = await refused(world.pods.create(pod(acme, namespace="nowhere")))
    assert (error.code, error.message) == (grpc.StatusCode.NOT_FOUND, 'namespaces "nowhere" not found')
    assert (await refused(world.pods.list(tenant="nobody"))).code is grpc.StatusCode.NOT_FOUND


async def test_a_tenant_where_none_belongs_is_refused(world: World) -> None:
    node = named(kinds.NODES, "n1", tenant="acme")
    error = await refused(world.rp.clients.nodes.create(node))
    assert [violation.field for violation in error.violations] == ["metadata.tenant"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"grace_period_seconds": -1}, "grace_period_seconds"),
        ({"propagation_policy": "Sideways"}, "propagation_policy"),
        ({"resource_version": -1}, "preconditions.resource_version"),
    ],
)
async def test_bad_delete_options_are_refused(world: World, acme: str, arguments: dict[str, Any], field: str) -> None:
    await world.pods.create(pod(acme))
    error = await refused(world.pods.delete("web", tenant=acme, namespace="default", **arguments))
    assert [violation.field for violation in error.violations] == [field]
    assert await world.pods.get("web", tenant=acme, namespace="default")
