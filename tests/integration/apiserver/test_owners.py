"""Owner references: background, foreground and orphaning deletion, over real etcd."""

from __future__ import annotations

from typing import Any

import pytest

from services.api import kinds
from tests.integration.apiserver.world import World, eventually, named, pod, refused

pytestmark = pytest.mark.etcd


def owned(tenant: str, name: str, *owners: Any, blocks: bool = False, kind: str = "Pod") -> Any:
    obj = pod(tenant, name)
    for owner in owners:
        obj.metadata.owner_references.add(
            api_version="v1",
            kind=kind,
            name=owner.metadata.name,
            uid=owner.metadata.uid,
            block_owner_deletion=blocks,
        )
    return obj


async def names(world: World, tenant: str) -> list[str]:
    return [item.metadata.name for item in (await world.pods.list(tenant=tenant)).items]


async def test_dependents_go_after_their_last_owner(world: World, acme: str) -> None:
    one, two = await world.pods.create(pod(acme, "one")), await world.pods.create(pod(acme, "two"))
    both = await world.pods.create(owned(acme, "both", one, two))
    await world.pods.create(owned(acme, "child", one))
    await world.pods.create(owned(acme, "grandchild", both))
    await world.pods.delete("one", tenant=acme, namespace="default")

    async def only_two_owns() -> bool:
        found = await world.pods.get("both", tenant=acme, namespace="default")
        return [owner.uid for owner in found.metadata.owner_references] == [two.metadata.uid]

    await eventually(only_two_owns)
    await eventually(lambda: same(names(world, acme), ["both", "grandchild", "two"]))
    await world.pods.delete("two", tenant=acme, namespace="default", propagation_policy="Background")
    await eventually(lambda: same(names(world, acme), []))


async def same(call: Any, expected: list[str]) -> bool:
    return bool(await call == expected)


async def test_an_owner_that_never_was_takes_its_dependent_along(world: World, acme: str) -> None:
    gone = await world.pods.create(pod(acme, "gone"))
    await world.pods.delete("gone", tenant=acme, namespace="default")
    await world.pods.create(pod(acme, "gone"))  # the same name, another UID
    await world.pods.create(owned(acme, "late", gone))
    await eventually(lambda: same(names(world, acme), ["gone"]))


async def test_a_foreground_deletion_waits_for_those_that_block_it(world: World, acme: str) -> None:
    owner = await world.pods.create(pod(acme, "owner"))
    held = owned(acme, "held", owner, blocks=True)
    held.metadata.finalizers.append("example.com/wait")
    held = await world.pods.create(held)
    await world.pods.create(owned(acme, "free", owner))
    ending = await world.pods.delete("owner", tenant=acme, namespace="default", propagation_policy="Foreground")
    assert list(ending.metadata.finalizers) == ["foregroundDeletion"]
    assert ending.metadata.HasField("deletion_timestamp")
    await eventually(lambda: same(names(world, acme), ["held", "owner"]))
    held = await eventually(lambda: world.pods.get("held", tenant=acme, namespace="default"))

    async def held_is_ending() -> Any:
        found = await world.pods.get("held", tenant=acme, namespace="default")
        return found if found.metadata.HasField("deletion_timestamp") else None

    held = await eventually(held_is_ending)
    assert (await names(world, acme)) == ["held", "owner"]
    del held.metadata.finalizers[:]
    await world.pods.update(held)
    await eventually(lambda: same(names(world, acme), []))


async def test_orphans_stay_without_the_reference(world: World, acme: str) -> None:
    owner = await world.pods.create(pod(acme, "owner"))
    await world.pods.create(owned(acme, "child", owner))
    ending = await world.pods.delete("owner", tenant=acme, namespace="default", propagation_policy="Orphan")
    assert list(ending.metadata.finalizers) == ["orphan"]
    await eventually(lambda: same(names(world, acme), ["child"]))
    child = await world.pods.get("child", tenant=acme, namespace="default")
    assert not child.metadata.owner_references


async def test_a_collection_is_orphaned(world: World, acme: str) -> None:
    owner = await world.pods.create(pod(acme, "owner", labels={"role": "owner"}))
    await world.pods.create(owned(acme, "child", owner))
    await world.pods.delete_collection(
        tenant=acme, namespace="default", label_selector="role=owner", propagation_policy="Orphan"
    )
    await eventually(lambda: same(names(world, acme), ["child"]))
    child = await world.pods.get("child", tenant=acme, namespace="default")
    assert not child.metadata.owner_references


async def test_an_owner_of_another_partition_is_not_judged(world: World, acme: str) -> None:
    node = await world.rp.clients.nodes.create(named(kinds.NODES, f"n-{acme}"))
    missing = pod(acme, "missing")
    missing.metadata.uid = "no-such-uid"
    await world.pods.create(owned(acme, "mirror", node, kind="Node"))
    await world.pods.create(owned(acme, "set", missing, kind="ReplicaSet"))
    # A later dependent that goes shows that the earlier ones were looked at.
    await world.pods.create(owned(acme, "marker", missing))
    await eventually(lambda: same(names(world, acme), ["mirror", "set"]))


async def test_the_lease_of_a_node_goes_with_it(world: World, acme: str) -> None:
    nodes, leases = world.rp.clients.nodes, world.rp.clients.leases
    node = await nodes.create(named(kinds.NODES, f"m-{acme}"))
    lease: Any = named(kinds.LEASES, f"other-{acme}", tenant="system", namespace="kube-node-lease")
    lease.metadata.owner_references.add(api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid)
    await leases.create(lease)
    await nodes.delete(node.metadata.name)

    async def gone() -> bool:
        listing = await leases.list(tenant="system", namespace="kube-node-lease")
        return lease.metadata.name not in [item.metadata.name for item in listing.items]

    await eventually(gone)
    error = await refused(nodes.get(node.metadata.name))
    assert error.reason == "NotFound"
