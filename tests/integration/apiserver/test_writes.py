"""Writes: what a create, an update, a patch, a delete make of an object."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
import pytest
from aetcd.rpc import KVStub, LeaseStub, LeaseTimeToLiveRequest, RangeRequest

from services.api import kinds, wire
from services.api.pb.ursa.core.v1 import pod_pb2
from services.apiserver import limits
from tests.integration.apiserver.world import World, binding, eventually, named, pod, refused
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd


async def test_a_created_object_has_what_the_server_owns(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    metadata = created.metadata
    assert len(metadata.uid) == 36
    assert metadata.generation == 1
    assert metadata.resource_version > 0
    assert metadata.creation_timestamp.seconds > 1_700_000_000
    assert (created.status.phase, created.status.qos_class) == ("Pending", "Burstable")
    assert (created.api_version, created.kind) == ("", "")
    assert await world.pods.get("web", tenant=acme, namespace="default") == created


async def test_a_name_is_taken_once(world: World, acme: str) -> None:
    await world.pods.create(pod(acme))
    error = await refused(world.pods.create(pod(acme)))
    assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists")
    assert error.message == 'pods "web" already exists'


async def test_generated_names_are_unique_and_short(world: World, acme: str) -> None:
    template = pod(acme, "")
    template.metadata.generate_name = "x" * 70
    names = {(await world.pods.create(template)).metadata.name for _ in range(5)}
    assert len(names) == 5
    assert {len(name) for name in names} == {63}


async def test_a_dry_run_writes_nothing(world: World, acme: str) -> None:
    tried = await world.pods.create(pod(acme), dry_run=True)
    assert tried.metadata.uid
    assert (await refused(world.pods.get("web", tenant=acme, namespace="default"))).reason == "NotFound"
    await world.pods.create(pod(acme))
    assert (await refused(world.pods.create(pod(acme), dry_run=True))).reason == "AlreadyExists"


async def test_an_update_keeps_what_the_server_owns(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    changed = pod_pb2.Pod()
    changed.CopyFrom(created)
    changed.metadata.ClearField("resource_version")
    changed.metadata.labels["tier"] = "web"
    changed.metadata.generation = 77
    changed.metadata.creation_timestamp.seconds = 1
    changed.status.phase = "Running"
    updated = await world.pods.update(changed)
    assert updated.metadata.labels["tier"] == "web"
    assert updated.metadata.creation_timestamp == created.metadata.creation_timestamp
    assert (updated.metadata.generation, updated.status.phase) == (1, "Pending")
    assert updated.metadata.resource_version > created.metadata.resource_version


async def test_a_change_of_the_spec_raises_the_generation(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    created.spec.containers[0].image = "nginx:1.26"
    assert (await world.pods.update(created)).metadata.generation == 2


async def test_a_stale_update_is_a_conflict_that_names_the_current_version(world: World, acme: str) -> None:
    first = await world.pods.create(pod(acme))
    first.metadata.labels["a"] = "1"
    second = await world.pods.update(first)
    first.metadata.labels["a"] = "2"
    error = await refused(world.pods.update(first))
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "Conflict")
    assert error.current_rv == second.metadata.resource_version


async def test_an_update_for_another_uid_is_a_conflict(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    created.metadata.uid = "00000000-0000-4000-8000-000000000000"
    created.metadata.ClearField("resource_version")
    assert (await refused(world.pods.update(created))).reason == "Conflict"


async def test_an_update_that_changes_nothing_writes_nothing(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    version = created.metadata.resource_version
    again = await world.pods.update(created)
    assert again.metadata.resource_version == version
    assert (await world.pods.get("web", tenant=acme, namespace="default")).metadata.resource_version == version


async def test_a_manifest_applied_by_update_keeps_what_admission_filled_in(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    again = await world.pods.update(pod(acme))
    assert again.metadata.resource_version == created.metadata.resource_version


async def test_a_status_update_takes_the_status_alone(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    report = pod(acme)
    report.metadata.uid = created.metadata.uid
    report.metadata.labels["ignored"] = "yes"
    report.spec.containers[0].image = "other"
    report.status.phase = "Running"
    report.status.pod_ip = "10.0.0.7"
    updated = await world.pods.update_status(report)
    assert (updated.status.phase, updated.status.pod_ip) == ("Running", "10.0.0.7")
    assert updated.spec == created.spec
    assert not updated.metadata.labels
    assert updated.metadata.generation == 1


async def test_conditions_of_other_writers_outlive_a_status_update_that_does_not_know_them(
    world: World, acme: str
) -> None:
    created = await world.pods.create(pod(acme))
    created.status.conditions.add(type="example.com/warm", status="True")
    created.status.conditions.add(type="Ready", status="False")
    warm = await world.pods.update_status(created)
    # A kubelet that has not seen the gate yet: no resource version.
    report = pod(acme)
    report.metadata.uid = warm.metadata.uid
    report.status.phase = "Running"
    report.status.conditions.add(type="Ready", status="True")
    (outcome,) = await world.pods.batch_update_status([report])
    assert outcome.status is None
    told = await world.pods.get("web", tenant=acme, namespace="default")
    assert {one.type: one.status for one in told.status.conditions} == {"example.com/warm": "True", "Ready": "True"}
    # Who names the version that it has read has said that it knows them all; and so has a patch.
    del told.status.conditions[:]
    cleared = await world.pods.update_status(told)
    assert not cleared.status.conditions
    await world.pods.update_status(report)
    patch = json.dumps([{"op": "remove", "path": "/status/conditions/0"}])
    arguments = {"tenant": acme, "namespace": "default", "subresource": "status"}
    patched = await world.pods.patch("web", patch, patch_type="application/json-patch+json", **arguments)
    assert not patched.status.conditions


async def test_a_merge_patch_changes_and_removes(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, labels={"keep": "1", "drop": "1"}))
    patch = json.dumps({"metadata": {"labels": {"drop": None, "new": "2"}}})
    patched = await world.pods.patch("web", patch, tenant=acme, namespace="default")
    assert dict(patched.metadata.labels) == {"keep": "1", "new": "2"}


async def test_a_json_patch_tests_and_replaces(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, labels={"a": "1"}))
    operations = [
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/a", "value": "2"},
    ]
    arguments = {"tenant": acme, "namespace": "default", "patch_type": "application/json-patch+json"}
    patched = await world.pods.patch("web", json.dumps(operations), **arguments)
    assert patched.metadata.labels["a"] == "2"
    error = await refused(world.pods.patch("web", json.dumps(operations), **arguments))
    assert "test of the patch failed" in error.message


async def test_a_patch_of_the_status(world: World, acme: str) -> None:
    await world.pods.create(pod(acme))
    patch = json.dumps({"status": {"phase": "Running"}, "metadata": {"labels": {"x": "y"}}})
    patched = await world.pods.patch("web", patch, tenant=acme, namespace="default", subresource="status")
    assert patched.status.phase == "Running"
    assert not patched.metadata.labels


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ('{"spec": {"containers": [{"name": "main", "imagee": "x"}]}}', "spec.containers[0].imagee"),
        ('{"metadata": {"name": "other"}}', "metadata.name"),
        ("{", "patch"),
        ("[]", "patch"),
    ],
)
async def test_a_bad_patch_is_refused_by_field_and_changes_nothing(
    world: World, acme: str, patch: str, field: str
) -> None:
    created = await world.pods.create(pod(acme))
    error = await refused(world.pods.patch("web", patch, tenant=acme, namespace="default"))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]
    assert await world.pods.get("web", tenant=acme, namespace="default") == created


async def test_an_unbound_pod_is_deleted_at_once(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    assert (await world.pods.delete("web", tenant=acme, namespace="default")).metadata.uid == created.metadata.uid
    assert (await refused(world.pods.get("web", tenant=acme, namespace="default"))).reason == "NotFound"
    assert (await refused(world.pods.delete("web", tenant=acme, namespace="default"))).reason == "NotFound"


async def test_a_bound_pod_ends_gracefully_and_the_kubelet_confirms(world: World, acme: str) -> None:
    await world.pods.create(pod(acme))
    bound = await world.pods.bind(binding(acme, "web", "n1"))
    ending = await world.pods.delete("web", tenant=acme, namespace="default")
    assert ending.metadata.deletion_grace_period_seconds == 30
    assert ending.metadata.HasField("deletion_timestamp")
    shorter = await world.pods.delete("web", tenant=acme, namespace="default", grace_period_seconds=5)
    assert shorter.metadata.deletion_grace_period_seconds == 5
    longer = await world.pods.delete("web", tenant=acme, namespace="default", grace_period_seconds=60)
    assert longer.metadata.deletion_grace_period_seconds == 5
    wrong = "00000000-0000-4000-8000-000000000000"
    error = await refused(world.pods.delete("web", tenant=acme, namespace="default", grace_period_seconds=0, uid=wrong))
    assert error.reason == "Conflict"
    await world.pods.delete("web", tenant=acme, namespace="default", grace_period_seconds=0, uid=bound.metadata.uid)
    assert (await refused(world.pods.get("web", tenant=acme, namespace="default"))).reason == "NotFound"


async def test_a_finalizer_holds_an_object_until_it_is_taken_off(world: World, acme: str) -> None:
    held = pod(acme)
    held.metadata.finalizers.append("example.com/hold")
    await world.pods.create(held)
    ending = await world.pods.delete("web", tenant=acme, namespace="default")
    assert ending.metadata.HasField("deletion_timestamp")
    added = pod_pb2.Pod()
    added.CopyFrom(ending)
    added.metadata.finalizers.append("example.com/more")
    assert (await refused(world.pods.update(added))).violations[0].field == "metadata.finalizers"
    del ending.metadata.finalizers[:]
    await world.pods.update(ending)
    assert (await refused(world.pods.get("web", tenant=acme, namespace="default"))).reason == "NotFound"


async def test_a_collection_is_deleted_by_selector(world: World, acme: str) -> None:
    for number in range(4):
        await world.pods.create(pod(acme, f"web-{number}", labels={"even": str(number % 2 == 0).lower()}))
    deleted = await world.pods.delete_collection(tenant=acme, namespace="default", label_selector="even=true")
    assert deleted == 2
    left = await world.pods.list(tenant=acme, namespace="default")
    assert [item.metadata.name for item in left.items] == ["web-1", "web-3"]


async def test_an_unknown_policy_for_a_collection_is_refused(world: World, acme: str) -> None:
    await world.pods.create(pod(acme))
    wrong = await refused(world.pods.delete_collection(tenant=acme, namespace="default", propagation_policy="Sideways"))
    assert (wrong.code.name, wrong.violations[0].field) == ("INVALID_ARGUMENT", "propagation_policy")
    assert len((await world.pods.list(tenant=acme, namespace="default")).items) == 1


async def test_a_batch_says_for_each_item_what_became_of_it(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "taken"))
    bad = pod(acme, "bad")
    del bad.spec.containers[:]
    items = [pod(acme, "one"), pod(acme, "taken"), bad, pod(acme, "two"), pod("nobody", "three"), pod(acme, "one")]
    outcomes = await world.pods.batch_create(items)
    reasons = [outcome.status.reason if outcome.status else "" for outcome in outcomes]
    assert reasons == ["", "AlreadyExists", "Invalid", "", "NotFound", "AlreadyExists"]
    assert outcomes[2].status is not None
    assert outcomes[2].status.violations[0].field == "spec.containers"
    assert outcomes[0].uid
    stored = await world.pods.get("one", tenant=acme, namespace="default")
    assert (stored.metadata.uid, stored.metadata.resource_version) == (outcomes[0].uid, outcomes[0].resource_version)


async def test_a_batch_of_status_updates(world: World, acme: str) -> None:
    await world.pods.batch_create([pod(acme, f"web-{n}") for n in range(3)])
    reports = [pod(acme, f"web-{n}") for n in range(3)] + [pod(acme, "missing")]
    for report in reports:
        report.status.phase = "Running"
    reports[1].metadata.uid = "00000000-0000-4000-8000-000000000000"
    outcomes = await world.pods.batch_update_status(reports)
    assert [outcome.status.reason if outcome.status else "" for outcome in outcomes] == ["", "Conflict", "", "NotFound"]
    again = await world.pods.batch_update_status([reports[0]])
    assert again[0].resource_version == outcomes[0].resource_version


async def test_binding_happens_once(world: World, acme: str) -> None:
    created = await world.pods.create(pod(acme))
    bound = await world.pods.bind(binding(acme, "web", "n1", uid=created.metadata.uid))
    assert (bound.spec.node_name, bound.spec.resource_partition) == ("n1", "rp-1")
    assert [(item.type, item.status) for item in bound.status.conditions] == [("PodScheduled", "True")]
    again = await world.pods.bind(binding(acme, "web", "n1"))
    assert again.metadata.resource_version == bound.metadata.resource_version
    for other in (binding(acme, "web", "n2"), binding(acme, "web", "n1", "rp-2")):
        error = await refused(world.pods.bind(other))
        assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "Conflict")
        assert error.current_rv == bound.metadata.resource_version


async def test_a_batch_of_bindings(world: World, acme: str) -> None:
    created = await world.pods.batch_create([pod(acme, f"web-{n}") for n in range(3)])
    bindings = [
        binding(acme, "web-0", "n1", uid=created[0].uid),
        binding(acme, "web-1", "n1", uid="00000000-0000-4000-8000-000000000000"),
        binding(acme, "gone", "n1"),
        binding(acme, "web-2", ""),
    ]
    outcomes = await world.pods.batch_bind(bindings)
    reasons = [outcome.status.reason if outcome.status else "" for outcome in outcomes]
    assert reasons == ["", "Conflict", "NotFound", "Invalid"]
    assert outcomes[0].uid == created[0].uid


async def test_only_one_of_many_racing_bindings_wins(world: World, acme: str) -> None:
    await world.pods.create(pod(acme))
    outcomes = await world.pods.batch_bind([binding(acme, "web", f"n{n}") for n in range(8)])
    assert [outcome.status is None for outcome in outcomes].count(True) == 1


async def test_priority_comes_from_the_class(world: World, acme: str) -> None:
    classes = world.tp.clients.priority_classes
    high = named(kinds.PRIORITY_CLASSES, "high", tenant=acme)
    high.value, high.preemption_policy = 1000, "Never"
    await classes.create(high)
    wanted = pod(acme, "a")
    wanted.spec.priority_class_name = "high"
    created = await world.pods.create(wanted)
    assert (created.spec.priority, created.spec.preemption_policy) == (1000, "Never")
    wanted = pod(acme, "b")
    wanted.spec.priority_class_name = "system-node-critical"
    assert (await world.pods.create(wanted)).spec.priority == 2_000_001_000
    wanted = pod(acme, "c")
    wanted.spec.priority_class_name = "unknown"
    assert (await refused(world.pods.create(wanted))).violations[0].field == "spec.priorityClassName"
    usual = named(kinds.PRIORITY_CLASSES, "usual", tenant=acme)
    usual.value, usual.global_default = 7, True
    await classes.create(usual)

    async def gets_default() -> bool:
        template = pod(acme, "")
        template.metadata.generate_name = "d-"
        made = await world.pods.create(template)
        return (made.spec.priority, made.spec.priority_class_name) == (7, "usual")

    await eventually(gets_default)


async def test_a_node_name_needs_its_partition(world: World, acme: str) -> None:
    static = pod(acme)
    static.spec.node_name = "n1"
    assert (await refused(world.pods.create(static))).violations[0].field == "spec.resourcePartition"
    static.spec.resource_partition = "rp-1"
    assert (await world.pods.create(static)).spec.node_name == "n1"


async def test_events_are_stored_and_listed_though_not_cached(world: World, acme: str) -> None:
    event = named(kinds.EVENTS, "web.1", tenant=acme, namespace="default")
    event.involved_object.kind, event.involved_object.name = "Pod", "web"
    event.involved_object.namespace = "default"
    event.reason, event.type = "Scheduled", "Normal"
    events = world.tp.clients.events
    created = await events.create(event)
    created.count = 2
    await events.update(created)
    listed = await events.list(tenant=acme, namespace="default", field_selector="involvedObject.name=web")
    assert [(item.metadata.name, item.count) for item in listed.items] == [("web.1", 2)]


async def test_events_expire_and_an_update_does_not_make_them_stay(
    world: World, acme: str, tenant_etcd: EtcdProcess
) -> None:
    event = named(kinds.EVENTS, "web.1", tenant=acme, namespace="default")
    event.involved_object.kind, event.involved_object.name = "Pod", "web"
    event.involved_object.namespace = "default"
    created = await world.tp.clients.events.create(event)
    created.count = 2
    await world.tp.clients.events.update(created)
    async with grpc.aio.insecure_channel(tenant_etcd.endpoint) as channel:
        key = f"/ursa/events/{acme}/default/web.1".encode()
        found = await KVStub(channel).Range(RangeRequest(key=key))
        assert found.kvs[0].version == 2
        lease = await LeaseStub(channel).LeaseTimeToLive(LeaseTimeToLiveRequest(ID=found.kvs[0].lease))
    assert 3600 <= lease.grantedTTL <= 3660


def stored_bytes(obj: Any) -> int:
    stored = type(obj)()
    stored.CopyFrom(obj)
    stored.metadata.resource_version = 0
    return len(wire.canonical(stored))


def fill(obj: Any) -> None:
    """Give ``obj`` a condition so long that not one byte more would be taken."""
    condition = obj.status.conditions.add(type="Large", status="True", message="x" * (1_000_000))
    condition.message += "x" * (limits.OBJECT_BYTES_MAX - stored_bytes(obj))
    assert stored_bytes(obj) == limits.OBJECT_BYTES_MAX


async def test_a_pod_of_the_largest_size_is_bound_and_deleted(world: World, acme: str) -> None:
    held = pod(acme)
    held.metadata.finalizers.append("example.com/hold")
    full = await world.pods.create(held)
    fill(full)
    full = await world.pods.update_status(full)
    grown = pod_pb2.Pod()
    grown.CopyFrom(full)
    grown.metadata.labels["one"] = "more"
    assert (await refused(world.pods.update(grown))).reason == "RequestEntityTooLarge"
    await world.pods.bind(binding(acme, "web", "n1", uid=full.metadata.uid))
    ending = await world.pods.delete("web", tenant=acme, namespace="default", propagation_policy="Foreground")
    assert ending.metadata.HasField("deletion_timestamp")
    assert limits.OBJECT_BYTES_MAX < stored_bytes(ending) < limits.OBJECT_BYTES_MAX + 1024
    # What the server added is no client's fault: whoever lets go of the object is not refused for it.
    ending.metadata.finalizers.remove("example.com/hold")
    ending = await world.pods.update(ending)
    assert stored_bytes(ending) > limits.OBJECT_BYTES_MAX
    ending.metadata.labels["one"] = "much-more"
    assert (await refused(world.pods.update(ending))).reason == "RequestEntityTooLarge"


async def test_a_node_of_the_largest_size_is_deleted(world: World) -> None:
    held = named(kinds.NODES, "large")
    held.metadata.finalizers.append("example.com/hold")
    nodes = world.rp.clients.nodes
    full = await nodes.create(held)
    fill(full)
    await nodes.update_status(full)
    ending = await nodes.delete("large")
    assert ending.metadata.HasField("deletion_timestamp")
    # A Node and its ledger are written together.
    ending.status.ClearField("conditions")
    ending.status.allocatable.update({"cpu": "4", "pods": "10"})
    fill(ending)
    ending = await nodes.update_status(ending)
    ending.metadata.finalizers.remove("example.com/hold")
    await nodes.update(ending)
    assert (await refused(nodes.get("large"))).reason == "NotFound"
