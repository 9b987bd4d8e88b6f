"""What each operation does to partitions, whose scheduler binds at once unless a test says otherwise."""

from __future__ import annotations

import asyncio
import pathlib
from collections import Counter
from typing import Any

import pytest

from services.api.kinds import NAMESPACES, NODES, PODS, PRIORITY_CLASSES
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import FakeClock
from services.bench.scheduler import opcodes
from services.bench.scheduler.errors import FileError, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes import Operation
from services.bench.scheduler.params import Params
from tests.support.bench_world import bench_world, nowhere

POD = """
apiVersion: v1
kind: Pod
metadata: {generateName: pod-, labels: {color: blue}}
spec:
  containers: [{name: pause, image: pause, resources: {requests: {cpu: 500m}}}]
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {generateName: n-, labels: {rack: r1}}
status:
  capacity: {cpu: "2", pods: "10"}
  conditions: [{type: Ready, status: "True"}]
"""


@pytest.fixture
def base(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "pod.yaml").write_text(POD)
    (tmp_path / "node.yaml").write_text(NODE)
    return tmp_path


def operation(base: pathlib.Path, **raw: Any) -> Operation:
    """The operation of a mapping, resolved without parameters."""
    (resolved,) = opcodes.read(Fields(raw, "operation", base)).resolved(Params({}), None)
    resolved.check()
    return resolved


# createNodes


async def test_nodes_without_template_are_upstreams_and_ready(base: pathlib.Path) -> None:
    async with bench_world() as bench:
        await bench.run(operation(base, opcode="createNodes", count=3))

    nodes = list(bench.resources[0].objects[NODES.resource].values())
    assert len(nodes) == 3
    for node in nodes:
        assert dict(node.status.capacity) == {"pods": "110", "cpu": "4", "memory": "32Gi"}
        assert [(one.type, one.status) for one in node.status.conditions] == [("Ready", "True")]
        assert node.metadata.labels["kubernetes.io/hostname"] == node.metadata.name
        assert node.metadata.name.startswith("node-0-")


async def test_nodes_are_spread_evenly_over_resource_partitions_and_labelled_in_turn(base: pathlib.Path) -> None:
    strategy = {"labelKey": "zone", "labelValues": ["a", "b", "c"]}
    async with bench_world(resources=2) as bench:
        await bench.run(
            operation(
                base, opcode="createNodes", count=12, nodeTemplatePath="node.yaml", labelNodePrepareStrategy=strategy
            )
        )

    by_partition = [list(one.objects[NODES.resource].values()) for one in bench.resources]
    every = sorted((node for nodes in by_partition for node in nodes), key=lambda node: node.metadata.name)
    assert [len(nodes) for nodes in by_partition] == [6, 6]
    assert [node.metadata.labels["zone"] for node in every] == ["a", "b", "c"] * 4
    assert all(node.metadata.labels["rack"] == "r1" for node in every)
    assert len({node.metadata.name for node in every}) == 12


async def test_a_unique_label_differs_on_every_node_and_allocatable_is_set_beside_capacity(base: pathlib.Path) -> None:
    async with bench_world() as bench:
        await bench.run(
            operation(base, opcode="createNodes", count=5, uniqueNodeLabelStrategy={"labelKey": "id"}),
            operation(
                base, opcode="createNodes", count=1, nodeAllocatableStrategy={"nodeAllocatable": {"gpu": 4, "cpu": "1"}}
            ),
        )

    nodes = list(bench.resources[0].objects[NODES.resource].values())
    assert len({node.metadata.labels["id"] for node in nodes if "id" in node.metadata.labels}) == 5
    (last,) = [node for node in nodes if "id" not in node.metadata.labels]
    assert dict(last.status.allocatable) == {"gpu": "4", "cpu": "1", "pods": "110", "memory": "32Gi"}


def test_two_strategies_at_once_are_refused(base: pathlib.Path) -> None:
    with pytest.raises(FileError, match="at most one strategy"):
        operation(
            base,
            opcode="createNodes",
            count=1,
            uniqueNodeLabelStrategy={"labelKey": "id"},
            nodeAllocatableStrategy={"nodeAllocatable": {"cpu": "1"}},
        )


# createNamespaces, createPods


async def test_namespaces_are_made_in_every_tenant(base: pathlib.Path) -> None:
    async with bench_world(tenants=2) as bench:
        await bench.run(operation(base, opcode="createNamespaces", prefix="sched", count=2))

    for partition in bench.tenants:
        names = {one.metadata.name for one in partition.objects[NAMESPACES.resource].values()}
        assert names == {"sched-0", "sched-1"}


async def test_pods_go_to_a_namespace_named_after_the_operation_and_are_waited_for(base: pathlib.Path) -> None:
    async with bench_world() as bench:
        await bench.run(
            operation(base, opcode="sleep"), operation(base, opcode="createPods", count=4, podTemplatePath="pod.yaml")
        )

    pods = bench.tenants[0].pods("namespace-1")
    assert len(pods) == 4
    assert all(pod.spec.node_name for pod in pods)
    assert {pod.metadata.labels["color"] for pod in pods} == {"blue"}
    assert not bench.world.measured


@pytest.mark.parametrize("batch", [1, 100])
async def test_measured_pods_are_spread_evenly_over_tenants(base: pathlib.Path, batch: int) -> None:
    async with bench_world(tenants=2, batch=batch) as bench:
        await bench.run(operation(base, opcode="createPods", count=10, collectMetrics=True))

    assert [len(one.pods()) for one in bench.tenants] == [5, 5]
    assert [one.sizes for one in bench.tenants] == ([[], []] if batch == 1 else [[5], [5]])
    (measured,) = bench.world.measured
    assert measured.pods == 10
    assert measured.name == "namespace-0"
    assert measured.pods_per_second > 0


async def test_pods_that_stay_unbound_end_the_workload_with_their_reasons(base: pathlib.Path) -> None:
    async with bench_world(places=nowhere, timeout_s=0.05) as bench:
        bench.tenants[0].condition = ("Unschedulable", "0/1 nodes are available")
        with pytest.raises(WorkloadFailed) as failure:
            await bench.run(operation(base, opcode="createPods", count=2))

    assert "0 of 2 pods of namespace-0 were bound" in str(failure.value)
    assert "2 pods are unbound: 2 × Unschedulable: 0/1 nodes are available" in str(failure.value)


async def test_a_wait_counts_whichever_pods_of_the_namespace_are_bound_as_upstreams_does(base: pathlib.Path) -> None:
    placed: list[str] = []

    def first_three(pod: Pod) -> str:
        placed.append(pod.metadata.name)
        return "node-1" if len(placed) <= 3 else ""

    async with bench_world(places=first_three, timeout_s=5.0) as bench:
        await bench.run(
            operation(base, opcode="createPods", count=3, namespace="shared"),
            operation(base, opcode="createPods", count=2, namespace="shared"),
        )

    assert bench.world.log.scheduled["shared"] == 3


async def test_a_number_for_priority_gets_a_class_of_that_number(base: pathlib.Path) -> None:
    (base / "high.yaml").write_text(POD.replace("spec:\n", "spec:\n  priority: 10\n"))
    async with bench_world(tenants=2) as bench:
        await bench.run(operation(base, opcode="createPods", count=2, podTemplatePath="high.yaml"))

    for partition in bench.tenants:
        (one,) = partition.objects[PRIORITY_CLASSES.resource].values()
        (pod,) = partition.pods()
        assert (one.metadata.name, one.value) == ("bench-priority-10", 10)
        assert (pod.spec.priority_class_name, pod.spec.priority) == ("bench-priority-10", 10)


async def test_templates_see_each_pods_index(base: pathlib.Path) -> None:
    (base / "numbered.yaml").write_text(POD.replace("blue", '"{{mod .Index 2}}-of-{{.Count}}"'))
    async with bench_world() as bench:
        await bench.run(operation(base, opcode="createPods", count=4, podTemplatePath="numbered.yaml"))

    colours = Counter(pod.metadata.labels["color"] for pod in bench.tenants[0].pods())
    assert colours == {"0-of-4": 2, "1-of-4": 2}


async def test_a_steady_state_replaces_every_pod_that_is_bound(base: pathlib.Path) -> None:
    async with bench_world() as bench:
        await bench.run(
            operation(base, opcode="createPods", count=3, steadyState=True, duration="100ms", collectMetrics=True)
        )

    (measured,) = bench.world.measured
    assert measured.pods > 3
    assert len(bench.tenants[0].pods()) == 3


# barrier, deletePods


async def test_a_barrier_waits_for_pods_whose_create_did_not(base: pathlib.Path) -> None:
    async with bench_world(places=nowhere, timeout_s=0.05) as bench:
        await bench.run(operation(base, opcode="createPods", count=2, skipWaitToCompletion=True))
        with pytest.raises(WorkloadFailed, match="0 of 2 pods of namespace-0"):
            await bench.run(operation(base, opcode="barrier"))


async def test_attempted_is_what_has_a_condition_that_says_no(base: pathlib.Path) -> None:
    async with bench_world(places=nowhere, timeout_s=0.05) as bench:
        create = operation(base, opcode="createPods", count=2, skipWaitToCompletion=True)
        barrier = operation(base, opcode="barrier", stageRequirement="Attempted")
        bench.tenants[0].condition = ("SchedulingGated", "gated")
        await bench.run(create, barrier)

        bench.tenants[0].condition = None
        await create.run(bench.world, 0)
        bench.world.deadline = bench.world.clock.monotonic()
        with pytest.raises(WorkloadFailed, match="2 × not attempted yet"):
            await barrier.run(bench.world, 1)


async def test_a_barrier_of_an_unknown_namespace_is_an_error(base: pathlib.Path) -> None:
    async with bench_world() as bench:
        with pytest.raises(WorkloadFailed, match="unknown namespace other"):
            await bench.run(operation(base, opcode="barrier", namespaces=["other"]))


async def test_deleted_pods_go_at_once_or_keep_their_place_by_their_grace(base: pathlib.Path) -> None:
    (base / "quick.yaml").write_text(POD.replace("spec:\n", "spec:\n  terminationGracePeriodSeconds: 0\n"))
    async with bench_world() as bench:
        await bench.run(
            operation(base, opcode="createPods", count=3, namespace="ns", podTemplatePath="quick.yaml"),
            operation(base, opcode="createPods", count=2, namespace="ns", podTemplatePath="pod.yaml"),
            operation(base, opcode="deletePods", namespace="ns"),
        )

    left = bench.tenants[0].pods("ns")
    assert len(left) == 2
    assert all(pod.metadata.HasField("deletion_timestamp") for pod in left)
    assert bench.world.log.scheduled["ns"] == 2


async def test_pods_are_deleted_so_many_a_second_in_the_background(base: pathlib.Path) -> None:
    clock = FakeClock()
    (base / "quick.yaml").write_text(POD.replace("spec:\n", "spec:\n  terminationGracePeriodSeconds: 0\n"))
    async with bench_world(clock=clock) as bench:
        await bench.run(
            operation(base, opcode="createPods", count=6, namespace="ns", podTemplatePath="quick.yaml"),
            operation(base, opcode="deletePods", namespace="ns", deletePodsPerSecond=2, skipWaitToCompletion=True),
        )
        left = [len(bench.tenants[0].pods("ns"))]
        for _ in range(3):
            await clock.advance(1.0)
            left.append(len(bench.tenants[0].pods("ns")))

    assert left == [6, 4, 2, 0]


async def test_only_pods_with_the_labels_are_deleted(base: pathlib.Path) -> None:
    (base / "red.yaml").write_text(POD.replace("blue", "red"))
    async with bench_world(places=nowhere) as bench:
        for template in ("pod.yaml", "red.yaml"):
            await bench.run(
                operation(
                    base,
                    opcode="createPods",
                    count=2,
                    namespace="ns",
                    podTemplatePath=template,
                    skipWaitToCompletion=True,
                )
            )
        await bench.run(operation(base, opcode="deletePods", namespace="ns", labelSelector={"color": "red"}))

    assert {pod.metadata.labels["color"] for pod in bench.tenants[0].pods()} == {"blue"}


# churn


async def test_churn_creates_a_round_every_interval_up_to_its_number(base: pathlib.Path) -> None:
    clock = FakeClock()
    async with bench_world(clock=clock, resources=2) as bench:
        await bench.run(
            operation(
                base,
                opcode="churn",
                mode="create",
                number=3,
                intervalMilliseconds=250,
                templatePaths=["pod.yaml", "node.yaml"],
            )
        )
        made = []
        for _ in range(5):
            await clock.advance(0.25)
            made.append(len(bench.tenants[0].pods("namespace-0")))

    assert made == [1, 2, 3, 3, 3]
    assert [len(one.objects[NODES.resource]) for one in bench.resources] == [2, 1]


async def test_churn_that_recreates_fills_its_slots_and_empties_them_in_turn(base: pathlib.Path) -> None:
    clock = FakeClock()
    async with bench_world(clock=clock, places=nowhere) as bench:
        await bench.run(
            operation(
                base, opcode="churn", mode="recreate", number=2, intervalMilliseconds=250, templatePaths=["pod.yaml"]
            )
        )
        alive = []
        for _ in range(8):
            await clock.advance(0.25)
            alive.append(len(bench.tenants[0].pods()))

    assert alive == [1, 2, 1, 0, 1, 2, 1, 0]


async def test_churn_that_is_refused_goes_on_and_says_so_once(base: pathlib.Path) -> None:
    clock = FakeClock()
    (base / "named.yaml").write_text(POD.replace("generateName: pod-", "name: only-one"))
    async with bench_world(clock=clock, places=nowhere) as bench:
        await bench.run(
            operation(
                base, opcode="churn", mode="create", number=3, intervalMilliseconds=250, templatePaths=["named.yaml"]
            )
        )
        await clock.advance(1.0)

    assert len(bench.world.notes) == 1
    assert bench.world.notes[0].startswith("churn: Pod: ")
    assert len(bench.tenants[0].pods()) == 1


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"mode": "shuffle", "templatePaths": ["pod.yaml"]}, "mode must be"),
        ({"mode": "recreate", "templatePaths": ["pod.yaml"]}, "wants a number"),
        ({"mode": "create"}, "wants templatePaths"),
    ],
)
def test_churn_that_makes_no_sense_is_refused(base: pathlib.Path, raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FileError, match=complaint):
        operation(base, opcode="churn", **raw)


# collecting metrics


async def test_a_window_measures_what_is_bound_in_its_namespaces_with_its_labels(base: pathlib.Path) -> None:
    (base / "red.yaml").write_text(POD.replace("blue", "red"))
    async with bench_world() as bench:
        await bench.run(
            operation(
                base,
                opcode="startCollectingMetrics",
                name="blue ones",
                namespaces=["a", "b"],
                labelSelector={"color": "blue"},
            ),
            operation(base, opcode="createPods", count=3, namespace="a", podTemplatePath="pod.yaml"),
            operation(base, opcode="createPods", count=4, namespace="b", podTemplatePath="red.yaml"),
            operation(base, opcode="createPods", count=5, namespace="c", podTemplatePath="pod.yaml"),
            operation(base, opcode="stopCollectingMetrics"),
        )

    (measured,) = bench.world.measured
    assert (measured.name, measured.pods) == ("blue ones", 3)


async def test_windows_may_not_overlap_and_must_be_open_to_be_closed(base: pathlib.Path) -> None:
    start = operation(base, opcode="startCollectingMetrics", name="w", namespaces=["a"])
    stop = operation(base, opcode="stopCollectingMetrics")
    async with bench_world() as bench:
        with pytest.raises(WorkloadFailed, match="not started"):
            await bench.run(stop)
        with pytest.raises(WorkloadFailed, match="overlapping"):
            await bench.run(start, start)


# createAny, updateAny, sleep


async def test_any_object_is_made_where_it_belongs(base: pathlib.Path) -> None:
    (base / "class.yaml").write_text(
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: 'c-{{.Index}}'}\nvalue: 5\n"
    )
    async with bench_world(tenants=2, resources=2) as bench:
        await bench.run(
            operation(base, opcode="createAny", templatePath="pod.yaml", namespace="ns", count=4),
            operation(base, opcode="createAny", templatePath="node.yaml", count=4),
            operation(base, opcode="createAny", templatePath="class.yaml", count=2),
        )

    assert [len(one.pods("ns")) for one in bench.tenants] == [2, 2]
    assert [len(one.objects[NODES.resource]) for one in bench.resources] == [2, 2]
    for partition in bench.tenants:
        names = {one.metadata.name for one in partition.objects[PRIORITY_CLASSES.resource].values()}
        assert names == {"c-0", "c-1"}


@pytest.mark.parametrize(("template", "namespace"), [("pod.yaml", ""), ("node.yaml", "ns")])
def test_a_namespace_is_given_exactly_for_kinds_that_have_one(
    base: pathlib.Path, template: str, namespace: str
) -> None:
    with pytest.raises(FileError, match="whose scope is"):
        operation(base, opcode="createAny", templatePath=template, namespace=namespace)


async def test_updates_replace_an_object_and_its_status_or_its_status_alone(base: pathlib.Path) -> None:
    (base / "one.yaml").write_text(NODE.replace("generateName: n-", "name: one"))
    changed = NODE.replace("generateName: n-", "name: one").replace("r1", "r2").replace('cpu: "2"', 'cpu: "8"')
    (base / "changed.yaml").write_text(changed)
    async with bench_world() as bench:
        await bench.run(
            operation(base, opcode="createAny", templatePath="one.yaml"),
            operation(base, opcode="updateAny", templatePath="changed.yaml", subresources=["status"]),
        )
        after_status = bench.resources[0].get(NODES, "one")
        await bench.run(operation(base, opcode="updateAny", templatePath="changed.yaml"))

    node = bench.resources[0].get(NODES, "one")
    assert (after_status.metadata.labels["rack"], after_status.status.capacity["cpu"]) == ("r1", "8")
    assert (node.metadata.labels["rack"], node.status.capacity["cpu"]) == ("r2", "8")


async def test_sleep_takes_its_time_on_the_clock(base: pathlib.Path) -> None:
    clock = FakeClock()
    async with bench_world(clock=clock) as bench, asyncio.TaskGroup() as group:
        sleeping = group.create_task(bench.run(operation(base, opcode="sleep", duration="1m30s")))
        bench.world.deadline = 1000.0
        await clock.advance(89.0)
        early = sleeping.done()
        await clock.advance(1.0)

    assert early is False


def test_pods_kind_is_what_pods_are_made_of() -> None:
    # The operations above build requests by hand: field 1 of both create requests must stay the object.
    assert PODS.create_request.DESCRIPTOR.fields_by_number[1].name == "object"
    assert PODS.batch_request.DESCRIPTOR.fields_by_number[1].name == "objects"
