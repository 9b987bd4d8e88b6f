"""What a pod asks of a node, and which pods are placed alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.pod_pb2 import Container, Pod
from services.placement import pods

MI = 1024 * 1024


def container(cpu: str = "", memory: str = "", restart: str = "", **more: str) -> Container:
    found = Container(name="c", image="nginx", restart_policy=restart)
    for resource, quantity in {"cpu": cpu, "memory": memory, **more}.items():
        if quantity:
            found.resources.requests[resource.replace("_", "-")] = quantity
    return found


def pod(*containers: Container, init: tuple[Container, ...] = (), overhead: dict[str, str] | None = None) -> Pod:
    found = Pod()
    found.spec.containers.extend(containers)
    found.spec.init_containers.extend(init)
    found.spec.overhead.update(overhead or {})
    return found


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pod(), {}),
        (pod(container()), {}),
        (pod(container("100m", "200Mi")), {"cpu": 100, "memory": 200 * MI}),
        (pod(container("1"), container("0.5", "1Ki")), {"cpu": 1500, "memory": 1024}),
        (pod(container("0.0001")), {"cpu": 1}),
        (pod(container(ephemeral_storage="1Gi")), {"ephemeral-storage": 2**30}),
        (pod(container(**{"example.com/gpu": "2"})), {"example.com/gpu": 2}),
        # an init container runs alone: the larger of the two moments counts, per resource
        (pod(container("1", "10Mi"), init=(container("2", "5Mi"),)), {"cpu": 2000, "memory": 10 * MI}),
        (pod(container("1"), init=(container("2"), container("3"))), {"cpu": 3000}),
        # a sidecar runs beside the containers, and beside the init containers after it
        (pod(container("1"), init=(container("2", restart="Always"),)), {"cpu": 3000}),
        (pod(container("1"), init=(container("2", restart="Always"), container("5"))), {"cpu": 7000}),
        (pod(container("1"), init=(container("5"), container("2", restart="Always"))), {"cpu": 5000}),
        (pod(container("1"), overhead={"cpu": "250m", "memory": "1Mi"}), {"cpu": 1250, "memory": MI}),
        (pod(container("1"), init=(container("2"),), overhead={"cpu": "1"}), {"cpu": 3000}),
        (pod(container(memory="8Ei"), container(memory="8Ei")), {"memory": 2**63 - 1}),
    ],
)
def test_requests(found: Pod, wanted: dict[str, int]) -> None:
    assert pods.requests(found) == wanted


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pod(container()), {"cpu": 100, "memory": 200 * MI}),
        (pod(container("0", "0")), {"cpu": 0, "memory": 0}),
        (pod(container("1"), container()), {"cpu": 1100, "memory": 400 * MI}),
        (pod(container("1", "1Mi"), overhead={"cpu": "1"}), {"cpu": 2000, "memory": MI}),
    ],
)
def test_requests_for_scoring_are_never_absent(found: Pod, wanted: dict[str, int]) -> None:
    assert pods.non_zero_requests(found) == wanted


CPUS = st.integers(0, 10_000)
CONTAINERS = st.lists(st.tuples(CPUS, st.booleans()), max_size=6)


@given(st.lists(CPUS, max_size=4), CONTAINERS)
def test_requests_are_the_largest_moment_of_the_pods_life(main: list[int], init: list[tuple[int, bool]]) -> None:
    found = pod(
        *(container(f"{cpu}m") for cpu in main),
        init=tuple(container(f"{cpu}m", restart="Always" if sidecar else "") for cpu, sidecar in init),
    )
    moments, running = [0], 0
    for cpu, sidecar in init:
        moments.append(running + cpu)
        running += cpu if sidecar else 0
    moments.append(running + sum(main))
    assert pods.requests(found).get("cpu", 0) == max(moments)


def with_port(**fields: Any) -> Container:
    found = Container(name="c", restart_policy=fields.pop("restart", ""))
    found.ports.add(container_port=80, **fields)
    return found


def test_host_ports() -> None:
    found = pod(
        with_port(host_port=80),
        with_port(host_port=53, protocol="UDP", host_ip="10.0.0.1"),
        with_port(),
        init=(with_port(host_port=1), with_port(host_port=2, restart="Always")),
    )
    assert pods.host_ports(found) == {("TCP", "0.0.0.0", 80), ("UDP", "10.0.0.1", 53), ("TCP", "0.0.0.0", 2)}


@pytest.mark.parametrize(
    ("wanted", "taken", "conflict"),
    [
        (("TCP", "0.0.0.0", 80), ("TCP", "0.0.0.0", 80), True),
        (("TCP", "10.0.0.1", 80), ("TCP", "0.0.0.0", 80), True),
        (("TCP", "0.0.0.0", 80), ("TCP", "10.0.0.1", 80), True),
        (("TCP", "10.0.0.1", 80), ("TCP", "10.0.0.1", 80), True),
        (("TCP", "10.0.0.1", 80), ("TCP", "10.0.0.2", 80), False),
        (("TCP", "0.0.0.0", 80), ("UDP", "0.0.0.0", 80), False),
        (("TCP", "0.0.0.0", 80), ("TCP", "0.0.0.0", 81), False),
    ],
)
def test_ports_conflict(wanted: pods.HostPort, taken: pods.HostPort, conflict: bool) -> None:
    assert pods.ports_conflict([wanted], [taken]) is conflict
    assert pods.ports_conflict([taken], [wanted]) is conflict
    assert not pods.ports_conflict([wanted], [])


@pytest.mark.parametrize(
    ("phase", "terminal"),
    [("", False), ("Pending", False), ("Running", False), ("Succeeded", True), ("Failed", True), ("Unknown", False)],
)
def test_terminal_phases(phase: str, terminal: bool) -> None:
    found = Pod()
    found.status.phase = phase
    assert pods.is_terminal(found) is terminal


def test_priority_is_zero_unless_set() -> None:
    found = Pod()
    assert pods.priority(found) == 0
    found.spec.priority = -5
    assert pods.priority(found) == -5


def template() -> Pod:
    found = pod(container("100m", "1Mi"))
    found.metadata.name, found.metadata.namespace, found.metadata.tenant = "web-1", "default", "acme"
    found.metadata.labels.update({"app": "web", "tier": "a"})
    found.spec.scheduler_name = "default-scheduler"
    found.spec.tolerations.add(key="a", operator="Exists")
    return found


def changed(change: Callable[[Pod], object]) -> Pod:
    found = template()
    change(found)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p.metadata, "name", "web-2"),
        lambda p: setattr(p.metadata, "uid", "u"),
        lambda p: setattr(p.metadata, "resource_version", 7),
        lambda p: p.metadata.annotations.update({"note": "x"}),
        lambda p: setattr(p.metadata.creation_timestamp, "seconds", 9),
        lambda p: p.spec.containers[0].env.add(name="A", value="1"),
        lambda p: p.spec.containers[0].args.append("--index=3"),
        lambda p: setattr(p.spec, "hostname", "web-2"),
        lambda p: p.status.conditions.add(type="PodScheduled", status="False"),
        lambda p: p.spec.containers[0].resources.requests.update({"cpu": "0.1"}),
    ],
)
def test_pods_that_differ_in_nothing_a_scheduler_sees_are_one_class(change: Callable[[Pod], object]) -> None:
    assert pods.scheduling_class(changed(change)) == pods.scheduling_class(template())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p.metadata, "tenant", "beta"),
        lambda p: setattr(p.metadata, "namespace", "other"),
        lambda p: p.metadata.labels.update({"app": "api"}),
        lambda p: p.spec.containers[0].resources.requests.update({"cpu": "200m"}),
        lambda p: p.spec.containers[0].ports.add(container_port=80, host_port=80),
        lambda p: setattr(p.spec.containers[0], "image", "redis"),
        lambda p: p.spec.node_selector.update({"disk": "ssd"}),
        lambda p: p.spec.affinity.node_affinity.SetInParent(),
        lambda p: p.spec.tolerations.add(key="b", operator="Exists"),
        lambda p: p.spec.topology_spread_constraints.add(max_skew=1, topology_key="zone"),
        lambda p: setattr(p.spec, "priority", 1),
        lambda p: setattr(p.spec, "node_name", "n1"),
        lambda p: setattr(p.spec, "scheduler_name", "mine"),
        lambda p: p.spec.overhead.update({"cpu": "1"}),
        lambda p: setattr(p.spec.volumes.add(name="v").persistent_volume_claim, "claim_name", "data"),
        lambda p: setattr(p.status, "nominated_node_name", "n1"),
    ],
)
def test_whatever_a_filter_or_score_looks_at_makes_another_class(change: Callable[[Pod], object]) -> None:
    assert pods.scheduling_class(changed(change)) != pods.scheduling_class(template())


def test_the_class_does_not_depend_on_the_order_of_labels() -> None:
    other = template()
    other.metadata.labels.clear()
    other.metadata.labels.update({"tier": "a", "app": "web"})
    assert pods.scheduling_class(other) == pods.scheduling_class(template())
