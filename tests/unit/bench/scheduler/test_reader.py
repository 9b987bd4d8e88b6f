"""Workload files: what is read, what is refused, what is listed as not supported; and upstream's own files."""

from __future__ import annotations

import pathlib
import textwrap

import pytest

from services.bench.scheduler import aims, reader, selection
from services.bench.scheduler.errors import FileError, NotSupported
from services.bench.scheduler.opcodes.barrier import ATTEMPTED, Barrier
from services.bench.scheduler.opcodes.create_nodes import CreateNodes
from services.bench.scheduler.opcodes.create_pods import CreatePods
from services.bench.scheduler.reader import Workload

PEER = pathlib.Path(__file__).parents[5] / "shared" / "peer" / "scheduler_perf"

CASE = """
- name: Case
  defaultPodTemplatePath: pod.yaml
  labels: [common]
  featureGates: {Gate: true}
  workloadTemplate:
  - opcode: createNodes
    countParam: $nodes
  - opcode: createPods
    count: 3
    collectMetrics: true
  workloads:
  - name: Small
    labels: [short]
    threshold: 12.5
    featureGates: {Other: false}
    params: {nodes: 2}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {generateName: pod-}
spec:
  containers: [{name: pause, image: pause}]
"""


def write(directory: pathlib.Path, text: str, pod: str = POD) -> pathlib.Path:
    (directory / "pod.yaml").write_text(textwrap.dedent(pod))
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def only(path: pathlib.Path) -> Workload:
    (case,) = reader.read(path)
    (workload,) = case.workloads
    return workload


def test_a_workload_is_its_case_with_parameters_labels_and_gates(tmp_path: pathlib.Path) -> None:
    workload = only(write(tmp_path, CASE))

    assert workload.full_name == "Case/Small"
    assert workload.labels == {"common", "short"}
    assert workload.gates == {"Gate": True, "Other": False}
    assert workload.threshold == 12.5
    nodes, pods = workload.operations()
    assert isinstance(nodes, CreateNodes) and nodes.count == 2
    assert isinstance(pods, CreatePods) and pods.count == 3
    assert pods.template == tmp_path / "pod.yaml"


def test_keys_match_whatever_their_case_is(tmp_path: pathlib.Path) -> None:
    text = CASE.replace("workloadTemplate", "WorkloadTemplate").replace("collectMetrics", "CollectMetrics")

    assert only(write(tmp_path, text)).operations()[1].measures


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("count: 3", "count: 3\n    colour: red", "unknown fields: colour"),
        ("opcode: createPods", "opcode: createPodz", "unknown opcode 'createPodz'"),
        ("count: 3", "count: -3", "must not be negative"),
        ("count: 3", "count: three", "want int"),
        ("$nodes", "nodes", "a parameter starts with"),
        ("collectMetrics: true", "collectMetrics: false", "no operation collects metrics"),
        ("collectMetrics: true", "collectMetrics: true\n    skipWaitToCompletion: true", "skipWaitToCompletion"),
        ("threshold: 12.5", "threshold: -1", "not negative"),
        ("name: Small", "name: ''", "a name is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: pathlib.Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(FileError, match=complaint):
        reader.read(write(tmp_path, CASE.replace(old, new)))


def test_a_parameter_that_is_missing_or_unused_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileError, match="Case/Small: parameter nodes is undefined"):
        only(write(tmp_path, CASE.replace("nodes: 2", "knots: 2"))).operations()
    with pytest.raises(FileError, match="parameters that nothing uses: more"):
        only(write(tmp_path, CASE.replace("nodes: 2", "nodes: 2, more: 1"))).operations()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("opcode: createNodes\n    countParam: $nodes", "opcode: createResourceDriver", "dynamic resource allocation"),
        ("count: 3", "count: 3\n    persistentVolumeTemplatePath: pv.yaml", "PersistentVolumes"),
        ("  labels: [common]", "  schedulerConfigPath: scheduler.yaml", "schedulerConfigPath"),
    ],
)
def test_what_ursa_lacks_is_said_and_not_an_error_of_the_file(
    tmp_path: pathlib.Path, old: str, new: str, reason: str
) -> None:
    workload = only(write(tmp_path, CASE.replace(old, new)))

    with pytest.raises(NotSupported, match=reason):
        workload.operations()


def test_a_template_of_an_unknown_kind_or_field_is_not_supported(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NotSupported, match="no kind PersistentVolume"):
        only(write(tmp_path, CASE, POD.replace("kind: Pod", "kind: PersistentVolume"))).operations()
    claims = POD.replace("spec:\n", "spec:\n  resourceClaims: [{name: gpu}]\n")
    with pytest.raises(NotSupported, match=r"spec\.resourceClaims: unknown field"):
        only(write(tmp_path, CASE, claims)).operations()


def test_a_template_that_is_wrong_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileError, match=r"spec\.containers: want a list"):
        only(write(tmp_path, CASE, POD.replace("[{name: pause, image: pause}]", "none"))).operations()


def test_fields_of_a_template_match_whatever_their_case_is(tmp_path: pathlib.Path) -> None:
    spread = "topologySpreadConstraints: [{MaxSkew: 1, topologyKey: zone, WhenUnsatisfiable: DoNotSchedule}]"
    workload = only(write(tmp_path, CASE, POD + f"  {spread}\n"))

    assert workload.operations()


def test_pod_sets_become_a_create_in_each_namespace(tmp_path: pathlib.Path) -> None:
    sets = """  - opcode: createPodSets
    countParam: $sets
    namespacePrefix: set
    createPodsOp: {opcode: createPods, count: 2}
  workloads"""
    text = CASE.replace("  workloads", sets).replace("nodes: 2", "nodes: 2, sets: 3")

    operations = only(write(tmp_path, text)).operations()

    assert [getattr(operation, "namespace", "") for operation in operations] == ["", "", "set-0", "set-1", "set-2"]


# Upstream's own files


@pytest.mark.parametrize("name", ["misc", "affinity"])
def test_upstreams_files_are_read_and_every_workload_is_runnable_or_says_why(name: str) -> None:
    path = PEER / name / "performance-config.yaml"
    if not path.exists():
        pytest.skip(f"scheduler_perf's {name}/performance-config.yaml is not beside the repository (../shared/peer)")

    found = [workload for case in reader.read(path) for workload in case.workloads]

    assert len(found) > 50
    for workload in found:
        try:
            assert workload.operations()
        except NotSupported as reason:
            assert workload.full_name in str(reason)


def test_upstreams_gated_workload_has_its_barrier_deletion_and_three_creates() -> None:
    path = PEER / "misc" / "performance-config.yaml"
    if not path.exists():
        pytest.skip("scheduler_perf's misc/performance-config.yaml is not beside the repository (../shared/peer)")
    (workload,) = selection.chosen(reader.read(path), ["SchedulingWhileGated/1Node_10000GatedPods"], None, False)

    operations = workload.operations()

    assert [operation.opcode for operation in operations] == [
        "createNodes",
        "createPods",
        "barrier",
        "createPods",
        "deletePods",
        "createPods",
    ]
    assert isinstance(operations[2], Barrier) and operations[2].stage == ATTEMPTED
    assert [one.count for one in operations if isinstance(one, CreatePods)] == [10_000, 20_000, 20_000]
    assert workload.threshold == 130


# Ursa's own files


def test_own_workloads_can_all_be_run() -> None:
    found = [workload for case in selection.read_all(selection.own_files()) for workload in case.workloads]

    names = {workload.case.name for workload in found}
    assert names == {"Density", "SchedulingBasicPartitioned", "RaceForLastPlaces", "Memory"}
    assert aims.SCHEDULER_MEMORY.keys() <= {workload.full_name for workload in found}
    for workload in found:
        assert workload.operations()
