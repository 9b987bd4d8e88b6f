"""Which pods are garbage, as a table; what proves that a node is gone."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import PodStatus
from services.client.informer import Change
from services.controllers.podgc.decide import Held, Quarantine, Reason, look
from services.controllers.podgc.facts import OUT_OF_SERVICE, NodesView, PodBook, SeenNode, read_node
from services.controllers.podgc.removal import mark_failed
from services.controllers.tenantpods import TenantPod
from tests.unit.controllers.tenant_pods import tenant_pod


def book(*pods: TenantPod) -> PodBook:
    made = PodBook()
    made.see([Change(pod.uid, None, pod, "tp-1") for pod in pods])
    return made


def view(*nodes: str, down: tuple[str, ...] = (), current: bool = True) -> NodesView:
    seen = {name: SeenNode(name, f"uid-{name}", 1, name in down) for name in (*nodes, *down)}
    return NodesView(seen, current)


def deletions(made: PodBook, partitions: dict[str, NodesView], threshold: int = 0) -> list[tuple[str, Reason]]:
    return [(pod.uid, reason) for pod, reason in look(made, partitions, threshold).deletions]


def test_of_finished_pods_above_the_threshold_the_evicted_and_then_the_oldest_go() -> None:
    made = book(
        tenant_pod("young", phase="Succeeded", created=300),
        tenant_pod("old", phase="Failed", created=100),
        tenant_pod("evicted", phase="Failed", created=400, evicted=True),
        tenant_pod("middle", phase="Succeeded", created=200),
        tenant_pod("running", phase="Running", created=1),
    )
    assert deletions(made, {}, threshold=2) == [("evicted", Reason.TERMINATED), ("old", Reason.TERMINATED)]
    assert deletions(made, {}, threshold=4) == []
    assert deletions(made, {}, threshold=0) == []  # off


def test_ties_are_broken_by_name() -> None:
    made = book(*(tenant_pod(name, phase="Failed", created=100) for name in ("c", "a", "b")))
    assert [uid for uid, _ in deletions(made, {}, threshold=1)] == ["a", "b"]


def test_a_terminating_pod_that_was_never_bound_goes_unless_only_its_finalizers_are_left() -> None:
    made = book(
        tenant_pod("waits", ending=True, held=True),
        tenant_pod("stuck", ending=True, held=True, phase="Failed"),
        tenant_pod("alive"),
    )
    assert deletions(made, {}) == [("waits", Reason.UNSCHEDULED)]


@pytest.mark.parametrize(
    ("nodes", "goes"),
    [
        ({"rp-1": view(down=("n1",))}, True),
        ({"rp-1": view("n1")}, False),
        ({"rp-1": view(down=("n1",), current=False)}, False),
        ({"rp-2": view(down=("n1",))}, False),
    ],
)
def test_a_terminating_pod_on_a_node_that_is_out_of_service_goes(nodes: dict[str, NodesView], goes: bool) -> None:
    made = book(
        tenant_pod("ending", node="n1", partition="rp-1", phase="Running", ending=True),
        tenant_pod("stays", node="n1", partition="rp-1", phase="Running"),
    )
    assert deletions(made, nodes) == ([("ending", Reason.OUT_OF_SERVICE)] if goes else [])


@pytest.mark.parametrize(
    ("ready", "tainted", "down"), [("True", True, False), ("Unknown", True, True), ("False", False, False)]
)
def test_out_of_service_is_a_taint_of_a_node_that_is_not_ready(ready: str, tainted: bool, down: bool) -> None:
    node = Node()
    node.metadata.name = "n1"
    node.status.conditions.add(type="Ready", status=ready)
    if tainted:
        node.spec.taints.add(key=OUT_OF_SERVICE, value="nodeshutdown", effect="NoExecute")
    assert read_node(node.SerializeToString()).down == down


def test_only_a_partition_that_is_known_and_in_reach_has_missing_nodes() -> None:
    made = book(
        *(tenant_pod(f"a{n}", node="gone", partition="rp-1") for n in range(2)),
        tenant_pod("b", node="here", partition="rp-1"),
        *(tenant_pod(f"c{n}", node="gone", partition="rp-2") for n in range(3)),
        *(tenant_pod(f"d{n}", node="gone", partition="rp-9") for n in range(4)),
    )
    found = look(made, {"rp-1": view("here"), "rp-2": view("other", current=False)}, 0)
    assert found.missing == [("rp-1", "gone")]
    assert found.held == {("rp-2", Held.UNREACHABLE): 3, ("rp-9", Held.UNKNOWN_PARTITION): 4}
    assert found.deletions == []


def test_a_place_is_forgotten_with_its_last_pod() -> None:
    first, second = (tenant_pod(uid, node="n", partition="rp-1", phase="Failed", ending=True) for uid in "ab")
    made = book(first, second)
    made.see([Change("a", first, None, "tp-1")])
    assert dict(made.places) == {("rp-1", "n"): 1}
    made.see([Change("b", second, None, "tp-1")])
    assert not made.places and not made.finished and not made.ending


def test_a_node_is_asked_about_when_it_was_missing_all_through_its_quarantine() -> None:
    quarantine, place, other = Quarantine(40.0), ("rp-1", "n1"), ("rp-1", "n2")
    assert quarantine.ripe([place], 0.0) == []
    assert quarantine.ripe([place, other], 20.0) == []
    assert quarantine.ripe([place, other], 40.0) == [place]
    assert quarantine.ripe([other], 50.0) == []  # n1 has come back, or its pods have gone
    assert quarantine.ripe([place, other], 60.0) == [other]
    assert quarantine.ripe([place], 101.0) == [place]


def test_a_pod_of_a_deleted_node_says_who_ended_it_and_others_do_not() -> None:
    orphan, other = PodStatus(phase="Running"), PodStatus(phase="Pending")
    mark_failed(orphan, Reason.ORPHANED, 77.0)
    mark_failed(other, Reason.UNSCHEDULED, 77.0)
    [condition] = orphan.conditions
    assert orphan.phase == other.phase == "Failed"
    assert (condition.type, condition.status, condition.reason) == ("DisruptionTarget", "True", "DeletionByPodGC")
    assert condition.last_transition_time.seconds == 77
    assert not other.conditions
    mark_failed(orphan, Reason.ORPHANED, 99.0)
    assert len(orphan.conditions) == 1 and orphan.conditions[0].last_transition_time.seconds == 77
