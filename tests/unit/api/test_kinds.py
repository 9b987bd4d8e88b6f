"""The table of kinds is complete and consistent with the protos, and answers what people type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import kinds
from services.api.excerpts import excerpt
from services.api.kinds import KINDS, Kind, Scope, UnknownKind, find, kind_of
from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from tests.unit.api import arbitrary

EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


@EVERY_KIND
def test_every_service_of_the_table_is_in_the_protos(kind: Kind) -> None:
    services = kind.list_message.DESCRIPTOR.file.services_by_name
    service = services[kind.service.rpartition(".")[2]]
    assert service.full_name == kind.service
    writes = {"Create": kind.create_request, "Update": kind.update_request, "BatchCreate": kind.batch_request}
    if kind.read_only:
        assert not writes.keys() & service.methods_by_name.keys()
    else:
        for method, request in writes.items():
            assert service.methods_by_name[method].input_type.full_name == request.DESCRIPTOR.full_name
    assert service.methods_by_name["List"].output_type.full_name == kind.list_message.DESCRIPTOR.full_name
    assert service.methods_by_name["Watch"].output_type.full_name == kind.watch_batch_message.DESCRIPTOR.full_name
    assert ("UpdateStatus" in service.methods_by_name) == kind.has_status


@EVERY_KIND
def test_field_numbers_that_wire_relies_on(kind: Kind) -> None:
    fields = kind.message.DESCRIPTOR.fields_by_name
    assert (fields["metadata"].number, fields["api_version"].number, fields["kind"].number) == (1, 14, 15)
    assert fields["metadata"].message_type.fields_by_name["resource_version"].number == 6
    assert kind.list_message.DESCRIPTOR.fields_by_name["metadata"].number == 1
    assert kind.list_message.DESCRIPTOR.fields_by_name["items"].number == 2
    events = kind.watch_batch_message.DESCRIPTOR.fields_by_name["events"]
    assert events.number == 3
    assert {field.name: field.number for field in events.message_type.fields} == {"type": 1, "object": 2}


@EVERY_KIND
def test_selectable_fields_of_an_empty_object_are_empty_or_false(kind: Kind) -> None:
    attributes = kind.attributes(b"")
    assert set(attributes.fields) == set(kind.fields)
    assert set(attributes.fields.values()) <= {"", "false"}
    assert kind.index is None or kind.index in kind.fields


def test_scopes_and_partitions() -> None:
    assert {kind.name for kind in KINDS.values() if kind.scope is Scope.CLUSTER} == {
        "Node",
        "Tenant",
        "TenantPlacement",
        "TenantPartition",
        "ResourcePartition",
        "CapacityClaim",
        "CapacityLedger",
    }
    assert {kind.name for kind in KINDS.values() if kind.scope is Scope.TENANT} == {"Namespace", "PriorityClass"}
    assert {kind.name for kind in KINDS.values() if kind.served_by("tenant")} == {
        "Tenant",
        "Namespace",
        "PriorityClass",
        "Pod",
        "Event",
        "Lease",
        "ResourcePartition",
        "Service",
        "PodDisruptionBudget",
        "ReplicaSet",
        "EndpointSlice",
    }
    assert {kind.name for kind in KINDS.values() if kind.served_by("resource")} == {
        "Node",
        "Lease",
        "Event",
        "Namespace",
        "TenantPlacement",
        "TenantPartition",
        "CapacityClaim",
        "CapacityLedger",
    }
    assert {kind.name for kind in KINDS.values() if kind.read_only} == {"CapacityClaim", "CapacityLedger"}


@pytest.mark.parametrize("word", ["po", "pod", "pods", "Pod", "PODS", "pods.core"])
def test_a_person_may_call_pods(word: str) -> None:
    assert find(word) is kinds.PODS


def test_an_unknown_word_lists_what_is_known() -> None:
    with pytest.raises(UnknownKind, match=r'"widgets"; known are pods \(po\), nodes \(no\)'):
        find("widgets")


def test_manifest_versions() -> None:
    assert kind_of("v1", "Pod") is kinds.PODS
    assert kind_of("coordination.k8s.io/v1", "Lease") is kinds.LEASES
    assert kind_of("scheduling.k8s.io/v1", "PriorityClass") is kinds.PRIORITY_CLASSES
    assert kind_of("tenancy.ursa.io/v1", "Tenant") is kinds.TENANTS
    with pytest.raises(UnknownKind, match=r'Lease has version "coordination.k8s.io/v1", not "v1"'):
        kind_of("v1", "Lease")
    with pytest.raises(UnknownKind, match=r'no kind "Widget".*known are CapacityClaim .*, Event \(v1\), Lease'):
        kind_of("v1", "Widget")


def test_attributes_of_a_pod() -> None:
    pod = Pod()
    pod.metadata.name, pod.metadata.namespace = "web", "default"
    pod.metadata.labels["app"] = "web"
    pod.spec.node_name, pod.spec.resource_partition = "n1", "rp-1"
    pod.status.phase = "Running"
    attributes = kinds.PODS.attributes(pod.SerializeToString())
    assert attributes.labels == {"app": "web"}
    assert attributes.fields["metadata.name"] == "web"
    assert attributes.fields["spec.nodeName"] == "n1"
    assert attributes.fields["spec.resourcePartition"] == "rp-1"
    assert attributes.fields["status.phase"] == "Running"
    assert {name: read(pod) for name, read in kinds.PODS.fields.items()} == attributes.fields


def test_attributes_merge_a_field_that_occurs_twice() -> None:
    first, second = Pod(), Pod()
    first.metadata.labels["a"] = "1"
    first.spec.node_name = "n1"
    second.metadata.labels["b"] = "2"
    second.status.phase = "Running"
    attributes = kinds.PODS.attributes(first.SerializeToString() + second.SerializeToString())
    assert attributes.labels == {"a": "1", "b": "2"}
    assert (attributes.fields["spec.nodeName"], attributes.fields["status.phase"]) == ("n1", "Running")


def test_fields_that_are_not_strings_in_the_message() -> None:
    node, event = Node(), Event()
    node.spec.unschedulable = True
    event.involved_object.resource_version = 7
    assert kinds.NODES.attributes_of(node).fields["spec.unschedulable"] == "true"
    assert kinds.EVENTS.attributes_of(event).fields["involvedObject.resourceVersion"] == "7"


@given(st.data())
def test_fields_of_stored_bytes_are_those_of_the_message(data: st.DataObject) -> None:
    kind = data.draw(arbitrary.kinds)
    message = data.draw(arbitrary.messages(kind))
    value = message.SerializeToString()
    # Occurrences of a field are merged.
    doubled = value + data.draw(arbitrary.messages(kind)).SerializeToString()
    assert dict(kind.attributes(doubled).fields) == kind.attributes_of(kind.message.FromString(doubled)).fields
    assert kind.attributes(value).labels == dict(message.metadata.labels)


@given(st.data())
def test_an_excerpt_tells_what_is_there(data: st.DataObject) -> None:
    message = data.draw(arbitrary.messages(kinds.PODS))
    paths = ("metadata.owner_references", "metadata.finalizers", "metadata.deletion_timestamp", "metadata.generation")
    found = excerpt(kinds.PODS.message, paths).FromString(message.SerializeToString()).metadata
    metadata = message.metadata
    assert list(found.finalizers) == list(metadata.finalizers)
    assert found.HasField("deletion_timestamp") == metadata.HasField("deletion_timestamp")
    assert found.generation == metadata.generation
    assert list(found.owner_references) == [owner.SerializeToString() for owner in metadata.owner_references]
