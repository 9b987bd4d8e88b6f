"""Manifests: every fault with its exact path, nothing dropped without a word, and the JSON form there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import kinds, manifests
from services.api.kinds import POD_DISRUPTION_BUDGETS, PODS, Kind
from services.api.manifests import ManifestError
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from tests.unit.api import arbitrary
from tests.unit.api.pods import pod_document

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, creationTimestamp: null}
spec:
  containers:
  - name: main
    image: nginx
"""


def pod_of(**spec: Any) -> Pod:
    message: Pod = manifests.parse_json(PODS, pod_document(**spec))
    return message


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "nginx", **fields}]}


def test_a_stream_of_several_kinds() -> None:
    text = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: team-a}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {{name: high}}
value: 1000
globalDefault: false
---
# comments alone are no document
---
{POD}
"""
    found = manifests.load(text)
    assert [(manifest.kind.name, manifest.object.metadata.name, manifest.document) for manifest in found] == [
        ("Namespace", "team-a", 1),
        ("PriorityClass", "high", 2),
        ("Pod", "web", 4),
    ]
    assert found[1].object.value == 1000
    assert found[2].raw["metadata"] == {"name": "web", "creationTimestamp": None}


def test_lists_hold_objects() -> None:
    item = {"apiVersion": "v1", "kind": "Pod", **pod_document()}
    bare = pod_document()
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [item, {"apiVersion": "v1", "kind": "List", "items": [item]}],
    }
    assert len(manifests.load(json.dumps(listed))) == 2
    assert len(manifests.load(json.dumps({"apiVersion": "v1", "kind": "PodList", "items": [bare, bare]}))) == 2
    assert manifests.load("apiVersion: v1\nkind: List\n") == []


def test_a_fault_in_a_list_names_the_item() -> None:
    wrong = {"apiVersion": "v1", "kind": "Pod", "spec": {"nodename": "n1"}}
    with pytest.raises(ManifestError) as caught:
        manifests.load(json.dumps({"apiVersion": "v1", "kind": "List", "items": [wrong]}))
    assert caught.value.path == "items[0].spec.nodename"


def test_unknown_fields_are_refused_with_their_exact_paths() -> None:
    text = POD + "    resorces: {}\n  hostnetwork: true\nspek: {}\n"
    with pytest.raises(ManifestError) as caught:
        manifests.load(text, source="web.yaml")
    assert [fault.path for fault in caught.value.faults] == ["spec.containers[0].resorces", "spec.hostnetwork", "spek"]
    assert caught.value.path == "spec.containers[0].resorces"
    assert str(caught.value) == (
        "web.yaml, document 1: spec.containers[0].resorces: unknown field (did you mean resources?); "
        "spec.hostnetwork: unknown field (did you mean hostNetwork?); spek: unknown field (did you mean spec?)"
    )


def test_proto_names_are_unknown_fields() -> None:
    with pytest.raises(ManifestError, match=r"spec\.node_name: unknown field \(did you mean nodeName\?\)"):
        manifests.parse_json(PODS, {"spec": {"node_name": "n1"}})


def test_unknown_fields_may_warn_or_be_ignored() -> None:
    text = POD + "    resorces: {}\n"
    (warned,) = manifests.load(text, validate="warn")
    (ignored,) = manifests.load(text, validate="ignore")
    assert warned.warnings == ("spec.containers[0].resorces: unknown field (did you mean resources?)",)
    assert ignored.warnings == ()
    assert warned.object == ignored.object == manifests.load(POD)[0].object


@pytest.mark.parametrize(
    ("document", "path", "says"),
    [
        ({"metadata": {"name": 5}}, "metadata.name", "want a string, got the number 5; put it in quotes"),
        ({"metadata": {"labels": {"a": True}}}, "metadata.labels[a]", "want a string, got true; put it in quotes"),
        ({"metadata": {"labels": []}}, "metadata.labels", "want an object, got a list"),
        ({"metadata": []}, "metadata", "want an object, got a list"),
        ({"metadata": {"finalizers": "a"}}, "metadata.finalizers", 'want a list, got the string "a"'),
        ({"metadata": {"finalizers": {"a": 1}}}, "metadata.finalizers", "want a list, got an object"),
        ({"metadata": {"generation": 1.5}}, "metadata.generation", "want an integer, got the number 1.5"),
        ({"metadata": {"resourceVersion": "x1"}}, "metadata.resourceVersion", "a string of digits"),
        ({"metadata": {"resourceVersion": "-1"}}, "metadata.resourceVersion", "a string of digits"),
        ({"metadata": {"resourceVersion": "9" * 19}}, "metadata.resourceVersion", "a string of digits"),
        ({"metadata": {"resourceVersion": "١"}}, "metadata.resourceVersion", "a string of digits"),
        ({"metadata": {"creationTimestamp": "today"}}, "metadata.creationTimestamp", "RFC 3339"),
        ({"metadata": {"creationTimestamp": "2026-02-30T00:00:00Z"}}, "metadata.creationTimestamp", "day"),
        ({"metadata": {"creationTimestamp": "2026-02-28T00:00:00"}}, "metadata.creationTimestamp", "RFC 3339"),
        ({"spec": {"priority": 2**31}}, "spec.priority", "2147483648 is out of range"),
        ({"spec": {"priority": "5"}}, "spec.priority", 'want an integer, got the string "5"'),
        ({"spec": {"priority": True}}, "spec.priority", "want an integer, got true"),
        ({"spec": {"hostNetwork": "true"}}, "spec.hostNetwork", 'want true or false, got the string "true"'),
        ({"spec": {"hostNetwork": 1}}, "spec.hostNetwork", "want true or false, got the number 1"),
        ({"spec": {"containers": [None]}}, "spec.containers[0]", "null is not an item"),
        ({"spec": {"containers": ["nginx"]}}, "spec.containers[0]", 'want an object, got the string "nginx"'),
        ({"spec": container(command=["a", 1])}, "spec.containers[0].command[1]", "want a string, got the number 1"),
        ({"spec": container(command=[None])}, "spec.containers[0].command[0]", "null is not an item"),
        (
            {"spec": container(resources={"requests": {"cpu": True}})},
            "spec.containers[0].resources.requests[cpu]",
            "want a quantity such as 250m or 2Gi, got true",
        ),
        (
            {"spec": container(resources={"requests": {"cpu": float("inf")}})},
            "spec.containers[0].resources.requests[cpu]",
            "want a quantity",
        ),
        (
            {"spec": container(livenessProbe={"tcpSocket": {"port": 80.5}})},
            "spec.containers[0].livenessProbe.tcpSocket.port",
            "want an integer or a string, got the number 80.5",
        ),
        (
            {"spec": container(livenessProbe={"tcpSocket": {"port": [80]}})},
            "spec.containers[0].livenessProbe.tcpSocket.port",
            "want an integer or a string, got a list",
        ),
        ({"metadata": {"name": "\ud800"}}, "metadata.name", "not valid Unicode"),
        ({"metadata": {"labels": {"\ud800": "a"}}}, "metadata.labels[\ud800]", "not valid Unicode"),
        ({"apiVersion": "v2"}, "apiVersion", 'want v1, got the string "v2"'),
        ({"kind": "Node"}, "kind", 'want Pod, got the string "Node"'),
    ],
)
def test_a_wrong_type_names_its_path_and_what_was_wanted(document: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifests.parse_json(PODS, document)
    assert caught.value.path == path
    assert says in caught.value.message
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("- a", "", "want an object, got a list"),
        ("just text", "", 'want an object, got the string "just text"'),
        ("kind: Pod", "apiVersion", "is required"),
        ("apiVersion: v1", "kind", "is required"),
        ("apiVersion: 1\nkind: Pod", "apiVersion", "want a string, got the number 1"),
        ("apiVersion: v1\nkind: Widget", "kind", 'no kind "Widget" in version "v1"; known are CapacityClaim'),
        ("apiVersion: apps/v1\nkind: Pod", "kind", 'Pod has version "v1", not "apps/v1"'),
        ("apiVersion: v1\nkind: List\nitems: {}", "items", "want a list of objects"),
        ("apiVersion: v1\nkind: List\nitems: [1]", "items[0]", "want an object, got the number 1"),
        ("a: b: c", "", "line 1, column 5: mapping values are not allowed"),
    ],
)
def test_a_document_that_is_no_object(text: str, path: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifests.load(f"{POD}---\n{text}", source="all.yaml") if text != "a: b: c" else manifests.load(text)
    assert (caught.value.path, caught.value.document) == (path, 1 if text == "a: b: c" else 2)
    assert says in caught.value.message


def test_null_is_unset_but_a_key_with_null_is_there() -> None:
    found = manifests.parse_json(
        PODS, {"metadata": {"name": "web", "labels": {"a": None}, "annotations": None}, "spec": None, "status": None}
    )
    assert found.metadata.labels == {"a": ""}
    assert not found.HasField("spec")
    assert not found.metadata.annotations


@pytest.mark.parametrize(
    ("written", "quantity"),
    [
        (9, "9"),
        (0.0001, "0.0001"),
        (1e3, "1000"),
        (0.5, "0.5"),
        (10**20, str(10**20)),
        (10**400, str(10**400)),
        (1e300, "1e+300"),
        ("1Gi", "1Gi"),
        (None, "0"),
    ],
)
def test_numbers_are_quantities(written: Any, quantity: str) -> None:
    found = pod_of(**container(resources={"requests": {"cpu": written}}))
    assert found.spec.containers[0].resources.requests["cpu"] == quantity


def test_an_int_or_string_prints_as_it_was_written() -> None:
    found = pod_of(**container(ports=[{"containerPort": 80}], livenessProbe={"httpGet": {"port": 8080}}))
    assert '"port": 8080\n' in manifests.to_json(PODS, found)
    named = pod_of(**container(livenessProbe={"httpGet": {"port": "web"}}))
    assert '"port": "web"' in manifests.to_json(PODS, named)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t14:30:00+02:30", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.250Z", "2026-01-31T12:00:00.25Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_times(written: str, printed: str) -> None:
    found = manifests.parse_json(PODS, {"metadata": {"name": "web", "creationTimestamp": written}})
    assert manifests.to_dict(PODS, found)["metadata"]["creationTimestamp"] == printed


def test_a_time_beyond_the_calendar_prints_its_end() -> None:
    pod = Pod()
    pod.metadata.creation_timestamp.seconds = 2**60
    assert manifests.to_dict(PODS, pod)["metadata"]["creationTimestamp"] == "9999-12-31T23:59:59Z"


def test_lease_times_are_micro_times() -> None:
    lease = Lease()
    lease.spec.renew_time.seconds = 1
    assert manifests.to_dict(kinds.LEASES, lease)["spec"]["renewTime"] == "1970-01-01T00:00:01.000000Z"


def test_numbers_print_as_numbers_and_resource_versions_as_strings() -> None:
    node = Node()
    node.metadata.name, node.metadata.resource_version, node.metadata.generation = "n1", 2**60, 3
    node.status.images.add(names=["nginx"], size_bytes=2**40)
    node.status.daemon_endpoints.kubelet_endpoint.port = 10250
    found = manifests.to_dict(kinds.NODES, node)
    assert found["metadata"] == {"name": "n1", "resourceVersion": str(2**60), "generation": 3}
    assert found["status"]["images"] == [{"names": ["nginx"], "sizeBytes": 2**40}]
    assert found["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert list(found) == ["apiVersion", "kind", "metadata", "status"]


def test_a_zero_that_is_an_answer_is_printed() -> None:
    pod = Pod()
    status = pod.status.container_statuses.add(name="main")
    status.state.terminated.SetInParent()
    assert manifests.to_dict(PODS, pod)["status"]["containerStatuses"] == [
        {"name": "main", "state": {"terminated": {"exitCode": 0}}, "ready": False, "restartCount": 0}
    ]
    assert manifests.to_dict(kinds.PRIORITY_CLASSES, PriorityClass())["value"] == 0


def test_empty_objects_that_mean_something_stay() -> None:
    found = pod_of(volumes=[{"name": "tmp", "emptyDir": {}}], containers=[{"name": "a", "image": "b", "resources": {}}])
    printed = manifests.to_dict(PODS, found)["spec"]
    assert printed["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert printed["containers"] == [{"name": "a", "image": "b"}]


def test_the_header_is_not_part_of_the_object() -> None:
    (found,) = manifests.load(POD)
    assert (found.object.api_version, found.object.kind) == ("", "")
    assert manifests.to_dict(PODS, found.object)["kind"] == "Pod"
    found.object.api_version = "whatever"
    assert manifests.to_dict(PODS, found.object)["apiVersion"] == "v1"


def test_from_dict_reads_one_object() -> None:
    found = manifests.from_dict({"apiVersion": "v1", "kind": "Pod", **pod_document()})
    assert found.kind is PODS
    assert found.object.spec.containers[0].image == "nginx:1.27"


@st.composite
def objects(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(arbitrary.kinds)
    return kind, draw(arbitrary.messages(kind))


@given(objects())
def test_what_is_printed_reads_back_the_same(found: tuple[Kind, Any]) -> None:
    kind, message = found
    printed = manifests.to_dict(kind, message)
    assert manifests.to_dict(kind, manifests.parse_json(kind, printed)) == printed
    (loaded,) = manifests.load(manifests.to_json(kind, message))
    assert manifests.to_dict(kind, loaded.object) == printed
    (loaded,) = manifests.load(manifests.to_yaml(kind, message))
    assert manifests.to_dict(kind, loaded.object) == printed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["metadata", "spec", "containers", "labels", "name", "x"]), inner, max_size=3
            )
        ),
    )
)
def test_any_value_loads_or_is_refused_with_a_path(value: Any) -> None:
    try:
        manifests.parse_json(PODS, {"spec": value, "metadata": value})
    except ManifestError as error:
        assert all(fault.path.startswith(("spec", "metadata")) for fault in error.faults)


def test_a_map_of_times_is_printed_and_read_as_times() -> None:
    kind = POD_DISRUPTION_BUDGETS
    found: Any = kind.message()
    found.metadata.name = "web"
    found.status.disrupted_pods["web-0"].seconds = 5
    printed = manifests.to_dict(kind, found)
    assert printed["status"] == {"disruptedPods": {"web-0": "1970-01-01T00:00:05Z"}}
    (loaded,) = manifests.load(manifests.to_yaml(kind, found))
    assert loaded.object == found
    printed["status"]["disruptedPods"]["web-0"] = "soon"
    with pytest.raises(ManifestError) as refused:
        manifests.parse_json(kind, printed)
    assert [fault.path for fault in refused.value.faults] == ["status.disruptedPods[web-0]"]
