"""Namespaces and tenants end: emptied first, then gone, and nothing new in them meanwhile."""

from __future__ import annotations

import pytest

from services.api import kinds
from services.rpc.status import StatusError
from tests.integration.apiserver.world import World, binding, eventually, named, pod, refused

pytestmark = pytest.mark.etcd


async def test_a_namespace_ends_when_its_pods_have(world: World, acme: str) -> None:
    namespaces = world.tp.clients.namespaces
    await namespaces.create(named(kinds.NAMESPACES, "shop", tenant=acme))
    place = {"tenant": acme, "namespace": "shop"}
    await world.pods.create(pod(acme, "unbound", namespace="shop"))
    await world.pods.create(pod(acme, "bound", namespace="shop"))
    bind = binding(acme, "bound", "n1")
    bind.metadata.namespace = "shop"
    await world.pods.bind(bind)
    ending = await namespaces.delete("shop", tenant=acme)
    assert ending.status.phase == "Terminating"
    error = await refused(world.pods.create(pod(acme, "late", namespace="shop")))
    assert (error.reason, error.metadata["cause"]) == ("Forbidden", "NamespaceTerminating")

    async def only_the_bound_pod_is_left() -> bool:
        left = (await world.pods.list(**place)).items
        return [item.metadata.name for item in left if item.metadata.HasField("deletion_timestamp")] == ["bound"]

    await eventually(only_the_bound_pod_is_left)
    assert (await namespaces.get("shop", tenant=acme)).status.phase == "Terminating"
    await world.pods.delete("bound", grace_period_seconds=0, **place)
    await eventually(lambda: gone(namespaces.get("shop", tenant=acme)))


async def test_a_users_update_cannot_take_the_content_finalizer_off(world: World, acme: str) -> None:
    namespaces = world.tp.clients.namespaces
    created = await namespaces.create(named(kinds.NAMESPACES, "shop", tenant=acme))
    del created.spec.finalizers[:]
    updated = await namespaces.update(created)
    assert list(updated.spec.finalizers) == ["kubernetes"]


async def test_a_tenant_ends_with_all_it_has_and_its_name_is_free_again(world: World, acme: str) -> None:
    clients = world.tp.clients
    await clients.namespaces.create(named(kinds.NAMESPACES, "shop", tenant=acme))
    priority = named(kinds.PRIORITY_CLASSES, "high", tenant=acme)
    priority.value = 1
    await clients.priority_classes.create(priority)
    await world.pods.create(pod(acme, namespace="shop"))
    ending = await clients.tenants.delete(acme)
    assert ending.status.phase == "Terminating"
    error = await refused(clients.namespaces.create(named(kinds.NAMESPACES, "late", tenant=acme)))
    assert (error.reason, error.metadata["cause"]) == ("Forbidden", "TenantTerminating")
    await eventually(lambda: gone(clients.tenants.get(acme)), within_s=20)
    assert (await refused(world.rp.clients.tenant_placements.get(acme))).reason == "NotFound"
    assert (await refused(world.pods.list(tenant=acme))).reason == "NotFound"
    await world.tenant(acme)
    assert (await world.pods.list(tenant=acme)).items == []
    assert (await clients.priority_classes.list(tenant=acme)).items == []


async def gone(call: object) -> bool:
    try:
        await call  # type: ignore[misc]
    except StatusError as error:
        return error.reason == "NotFound"
    return False
