"""When pods have to leave their node."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod, Toleration
from services.controllers.nodes import podwrites
from services.controllers.nodes.evictions import Evictions
from services.controllers.nodes.facts import NOT_READY, UNREACHABLE, taint_message
from services.controllers.nodes.toleration import stays_s
from services.controllers.pods import SeenPod, read_pod

GONE = ("example.com/gone", "")


def tolerates(key: str, seconds: int | None = None, **more: str) -> Toleration:
    return Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=seconds, **more)


@pytest.mark.parametrize(
    ("taints", "tolerations", "stays"),
    [
        ([], [], None),
        ([UNREACHABLE], [], 0),
        ([UNREACHABLE], [tolerates(NOT_READY, 300)], 0),
        ([UNREACHABLE], [tolerates(UNREACHABLE, 300)], 300),
        ([UNREACHABLE], [tolerates(UNREACHABLE)], None),
        ([UNREACHABLE], [tolerates(UNREACHABLE, 0)], 0),
        ([UNREACHABLE], [tolerates(UNREACHABLE, -5)], 0),
        ([UNREACHABLE], [tolerates("")], None),
        ([UNREACHABLE, "example.com/gone"], [tolerates(UNREACHABLE, 300), tolerates("example.com/gone", 10)], 10),
        ([UNREACHABLE, "example.com/gone"], [tolerates(UNREACHABLE, 300), tolerates("example.com/gone")], 300),
        ([UNREACHABLE, "example.com/gone"], [tolerates(UNREACHABLE, 300)], 0),
    ],
)
def test_how_long_a_pod_stays(taints: list[str], tolerations: list[Toleration], stays: float | None) -> None:
    assert stays_s([taint_message(key, "") for key in taints], tuple(tolerations)) == stays


def seen(uid: str, **more: object) -> SeenPod:
    return SeenPod(uid, "n1", False, 1, "acme", "default", uid, **more)  # type: ignore[arg-type]


def due(evictions: Evictions, now: float, limit: int = 10) -> list[str]:
    taken = evictions.take(now, limit)
    for eviction in taken:
        evictions.done(eviction)
    return [eviction.pod.uid for eviction in taken]


def test_pods_leave_in_the_order_of_their_time() -> None:
    evictions = Evictions()
    for uid, stays in (("late", 30.0), ("soon", 10.0), ("now", 0.0), ("never", None)):
        evictions.place(seen(uid), stays, 100.0)
    assert evictions.next_at() == 100.0
    assert due(evictions, 100.0) == ["now"] and due(evictions, 109.9) == []
    assert due(evictions, 200.0, limit=1) == ["soon"] and due(evictions, 200.0) == ["late"]
    assert len(evictions) == 0 and evictions.next_at() is None


def test_the_time_a_pod_has_spent_counts_when_its_taint_becomes_another() -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 300.0, 0.0)
    evictions.place(seen("a"), 300.0, 250.0)
    assert due(evictions, 300.0) == ["a"]


@pytest.mark.parametrize(("stays", "leaves_at"), [(10.0, 110.0), (290.0, 300.0), (600.0, 600.0)])
def test_a_taint_with_another_toleration_moves_the_time(stays: float, leaves_at: float) -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 300.0, 0.0)
    evictions.place(seen("a"), stays, 100.0)
    assert due(evictions, leaves_at - 0.1) == [] and due(evictions, leaves_at) == ["a"]


def test_what_is_tolerated_for_ever_or_gone_is_cancelled() -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 10.0, 0.0)
    assert evictions.place(seen("a"), None, 5.0) is True
    assert evictions.place(seen("a"), None, 5.0) is False
    evictions.place(seen("b"), 10.0, 0.0)
    assert evictions.cancel("b") and due(evictions, 100.0) == []


def test_a_pod_that_is_going_already_is_left_alone() -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 10.0, 0.0)
    assert evictions.place(seen("a", ending=True), 10.0, 5.0) is False
    assert len(evictions) == 0


def test_one_that_was_cancelled_while_it_was_tried_does_not_come_back() -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 0.0, 0.0)
    taken = evictions.take(0.0, 10)
    evictions.cancel("a")
    evictions.again(taken, 1.0)
    assert due(evictions, 10.0) == []
    evictions.place(seen("a"), 20.0, 10.0)
    evictions.done(taken[0])  # of the earlier time
    assert "a" in evictions


def test_one_that_failed_is_tried_again_once() -> None:
    evictions = Evictions()
    evictions.place(seen("a"), 0.0, 0.0)
    taken = evictions.take(0.0, 10)
    evictions.again(taken, 1.0)
    evictions.again(taken, 1.0)
    assert due(evictions, 0.9) == [] and due(evictions, 1.0) == ["a"] and due(evictions, 2.0) == []


def pod(**conditions: str) -> Pod:
    made = Pod()
    metadata = made.metadata
    metadata.name, metadata.namespace, metadata.tenant, metadata.uid = "web", "default", "acme", "u1"
    metadata.resource_version = 9
    for kind, status in conditions.items():
        made.status.conditions.add(type=kind, status=status).last_transition_time.seconds = 5
    return made


def test_a_pod_is_told_why_it_goes_and_once() -> None:
    update = podwrites.disrupted(pod(Ready="True"), 100.0)
    assert update is not None and update.metadata.resource_version == 9 and update.metadata.uid == "u1"
    [ready, target] = update.status.conditions
    assert (ready.type, ready.status) == ("Ready", "True")
    assert (target.type, target.status, target.reason) == ("DisruptionTarget", "True", "DeletionByTaintManager")
    assert target.last_transition_time.seconds == 100
    assert podwrites.disrupted(update, 200.0) is None


def test_a_pod_of_a_node_that_is_not_ready_is_not_ready() -> None:
    update = podwrites.not_ready(pod(Ready="True", Initialized="True"), 100.0)
    assert update is not None
    [ready, initialized] = update.status.conditions
    assert (ready.status, ready.reason, ready.last_transition_time.seconds) == ("False", "NodeNotReady", 100)
    assert initialized.status == "True"
    assert podwrites.not_ready(pod(Ready="False"), 100.0) is None and podwrites.not_ready(pod(), 100.0) is None


def test_only_this_pod_is_deleted_and_gracefully() -> None:
    request = podwrites.deletion(seen("a"))
    assert request.preconditions.uid == "a" and not request.HasField("grace_period_seconds")
    assert (request.tenant, request.namespace, request.name) == ("acme", "default", "a")


def test_what_is_kept_of_a_pod_is_shared_by_all_of_its_template() -> None:
    made = pod()
    made.metadata.deletion_timestamp.seconds = 5
    made.spec.node_name = "n1"
    made.spec.tolerations.extend([tolerates(UNREACHABLE, 300), Toleration(key="a", effect="NoSchedule")])
    first, second = read_pod(made.SerializeToString()), read_pod(made.SerializeToString())
    assert first.ending and first.tolerations == (tolerates(UNREACHABLE, 300),)
    assert first.tolerations is second.tolerations


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ({}, False),
        ({"Ready": "True"}, True),
        ({"Ready": "False"}, False),
        ({"Ready": "Unknown"}, False),
        ({"Ready": "True", "DisruptionTarget": "True"}, True),
        ({"ContainersReady": "True", "Ready": "False"}, False),
    ],
)
def test_a_pod_is_ready_if_it_says_so(conditions: dict[str, str], ready: bool) -> None:
    assert read_pod(pod(**conditions).SerializeToString()).ready is ready


def test_a_node_that_comes_and_goes_leaves_nothing_behind() -> None:
    evictions, day_s = Evictions(), 86_400.0
    steady = SeenPod("steady", "n1", False, 1)
    evictions.place(steady, day_s, 0.0)
    for number in range(10_000):
        flapping = SeenPod("flapping", "n2", False, number)
        evictions.place(flapping, day_s, float(number))
        if number < 9_999:
            evictions.place(flapping, None, number + 0.5)
    assert len(evictions) == 2 and len(evictions._heap) < 2_000
    assert [one.pod.uid for one in evictions.take(day_s, 10)] == ["steady"]
    assert evictions.take(day_s + 9_998, 10) == []
    assert [one.pod.uid for one in evictions.take(day_s + 9_999, 10)] == ["flapping"]
