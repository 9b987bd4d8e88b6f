"""Get and List: freshness, selectors, pages and continue tokens."""

from __future__ import annotations

import grpc
import pytest

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import ListRequest
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.client import calls
from services.rpc import methods
from services.storage.etcd import EtcdBackend, EtcdConfig
from tests.integration.apiserver.world import World, pod, port, refused, running, tenant_partition_config
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd


async def test_a_read_of_any_age_and_of_a_version(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    version = created.metadata.resource_version
    place = {"tenant": acme, "namespace": "default"}
    assert await world.pods.get("web", resource_version=version, **place) == created
    assert (await world.pods.get("web", resource_version=0, **place)).metadata.uid == created.metadata.uid
    error = await refused(world.pods.get("web", resource_version=version + 1_000_000, **place))
    assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "ResourceVersionTooLarge")
    assert error.retry_after_s == 1.0


async def test_a_list_sees_what_was_just_written(world: World, acme: str) -> None:
    for number in range(5):
        await world.pods.create(pod(acme, f"web-{number}"))
        assert len((await world.pods.list(tenant=acme)).items) == number + 1


async def test_items_come_in_key_order_with_their_own_versions(world: World, acme: str) -> None:
    for name in ("b", "c", "a"):
        await world.pods.create(pod(acme, name))
    listed = await world.pods.list(tenant=acme, namespace="default")
    assert [item.metadata.name for item in listed.items] == ["a", "b", "c"]
    versions = [item.metadata.resource_version for item in listed.items]
    assert max(versions) <= listed.resource_version
    assert listed.items[0] == await world.pods.get("a", tenant=acme, namespace="default")


async def test_selectors_by_label_and_field(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "a", labels={"app": "x"}))
    await world.pods.create(pod(acme, "b", labels={"app": "y"}))
    by_label = await world.pods.list(tenant=acme, label_selector="app in (y,z)")
    by_field = await world.pods.list(tenant=acme, field_selector="metadata.name=a")
    unbound = await world.pods.list(tenant=acme, field_selector="spec.nodeName=")
    assert [item.metadata.name for item in by_label.items] == ["b"]
    assert [item.metadata.name for item in by_field.items] == ["a"]
    assert [item.metadata.name for item in unbound.items] == ["a", "b"]


async def test_every_tenant_and_one_namespace_of_each(world: World, acme: str) -> None:
    other = await world.tenant(f"{acme}-b")
    for tenant in (acme, other):
        await world.pods.create(pod(tenant))
    everywhere = await world.pods.list(tenant="*", namespace="default")
    found = {item.metadata.tenant for item in everywhere.items}
    assert {acme, other} <= found
    assert {item.metadata.tenant for item in (await world.pods.list(tenant=acme)).items} == {acme}


async def test_pages_are_one_snapshot(world: World, acme: str) -> None:
    await world.pods.batch_create([pod(acme, f"web-{n:02}") for n in range(25)])
    first = await world.pods.list(tenant=acme, limit=10)
    assert (len(first.items), first.remaining) == (10, 15)
    await world.pods.create(pod(acme, "web-05-late"))
    await world.pods.create(pod(acme, "web-15-late"))
    second = await world.pods.list(tenant=acme, limit=10, continue_token=first.continue_token)
    third = await world.pods.list(tenant=acme, limit=10, continue_token=second.continue_token)
    names = [item.metadata.name for page in (first, second, third) for item in page.items]
    assert names == [f"web-{n:02}" for n in range(25)]
    assert {page.resource_version for page in (first, second, third)} == {first.resource_version}
    assert (third.continue_token, third.remaining) == ("", None)


async def test_a_token_is_good_for_its_query_only(world: World, acme: str) -> None:
    await world.pods.batch_create([pod(acme, f"web-{n}") for n in range(4)])
    token = (await world.pods.list(tenant=acme, limit=2)).continue_token
    other = await world.tenant(f"{acme}-b")
    for query in (
        {"tenant": other, "continue_token": token},
        {"tenant": acme, "continue_token": token, "label_selector": "a=b"},
        {"tenant": acme, "continue_token": token[:-2]},
        {"tenant": acme, "continue_token": "nonsense!"},
    ):
        error = await refused(world.pods.list(limit=2, **query))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT, query
        assert error.violations[0].field == "continue"


async def test_an_expired_token_comes_with_a_way_to_go_on(world: World, acme: str, tenant_etcd: EtcdProcess) -> None:
    await world.pods.batch_create([pod(acme, f"web-{n}") for n in range(6)])
    first = await world.pods.list(tenant=acme, limit=2)
    await world.pods.create(pod(acme, "web-0-late"))
    last = await world.pods.create(pod(acme, "web-3-late"))
    # The window of the cache still holds the revision: compact etcd and ask a server whose window is empty.
    config = EtcdConfig(endpoints=(tenant_etcd.endpoint,))
    async with EtcdBackend(config, clock=SystemClock(), rand=Rand()) as backend:
        await backend.wait_ready()
        await backend.compact(last.metadata.resource_version)
    again = tenant_partition_config(tenant_etcd.endpoint, port(), world.rp.endpoint)
    async with running(again) as replica:
        pods = replica.clients.pods
        error = await refused(pods.list(tenant=acme, limit=10, continue_token=first.continue_token))
        assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "Expired")
        rest = await pods.list(tenant=acme, limit=10, continue_token=error.metadata["continue"])
        names = [item.metadata.name for item in rest.items]
        assert names == ["web-2", "web-3", "web-3-late", "web-4", "web-5"]


async def test_large_lists_come_in_parts_of_about_one_megabyte(world: World, acme: str) -> None:
    fat = [pod(acme, f"web-{n}") for n in range(30)]
    for item in fat:
        item.metadata.annotations["padding"] = "x" * 100_000
    assert all(outcome.status is None for outcome in await world.pods.batch_create(fat))
    method = world.tp.channel.unary_stream(methods.path(kinds.PODS, "List"))
    request = ListRequest(tenant=acme).SerializeToString()
    parts = [part async for part in calls.parts(method, request, 10.0)]
    assert len(parts) == 3
    assert max(map(len, parts)) < 1_200_000
    whole = kinds.PODS.list_message.FromString(b"".join(parts))
    assert len(whole.items) == 30
    assert whole.metadata.resource_version > 0
    assert not kinds.PODS.list_message.FromString(parts[0]).HasField("metadata")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"match": "NotOlderThan"}, "resource_version_match"),
        ({"match": "Newest", "resource_version": 1}, "resource_version_match"),
        ({"match": "Exact", "resource_version": 0}, "resource_version_match"),
        ({"resource_version": -1}, "resource_version"),
        ({"limit": 10_001}, "limit"),
        ({"limit": -1}, "limit"),
        ({"label_selector": "a in (b"}, "label_selector"),
        ({"field_selector": "spec.color=red"}, "field_selector"),
        ({"tenant": ""}, "tenant"),
    ],
)
async def test_a_query_that_contradicts_itself_is_refused_by_field(
    world: World, acme: str, query: dict[str, object], field: str
) -> None:
    error = await refused(world.pods.list(**{"tenant": acme, **query}))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [violation.field for violation in error.violations]
