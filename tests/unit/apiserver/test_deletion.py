"""What a delete makes of an object."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.kinds import NAMESPACES, NODES, PODS
from services.apiserver import objects
from services.apiserver.deletion import DeleteOptions, deleted
from services.rpc.status import StatusError

NOW_S = 1_000


def pod(node: str = "n1", phase: str = "Running", grace_s: int | None = 30, finalizers: tuple[str, ...] = ()) -> Any:
    obj: Any = PODS.message()
    obj.metadata.name, obj.metadata.uid = "web", "uid"
    obj.metadata.finalizers.extend(finalizers)
    obj.spec.node_name, obj.status.phase = node, phase
    if grace_s is not None:
        obj.spec.termination_grace_period_seconds = grace_s
    return obj


def delete(obj: Any, now_s: int = NOW_S, **options: Any) -> Any:
    return deleted(PODS, obj, 5, DeleteOptions(**options), now_s=now_s)


@pytest.mark.parametrize(
    ("obj", "options"),
    [
        (pod(node=""), {}),
        (pod(phase="Succeeded"), {}),
        (pod(phase="Failed"), {}),
        (pod(), {"grace_period_seconds": 0}),
        (pod(grace_s=0), {}),
    ],
)
def test_nothing_has_to_end_on_a_node(obj: Any, options: dict[str, Any]) -> None:
    assert delete(obj, **options) is None


@pytest.mark.parametrize(("grace_s", "options", "expected"), [(30, {}, 30), (None, {}, 30), (5, {}, 5)])
def test_a_running_pod_is_marked_and_dated(grace_s: int | None, options: dict[str, Any], expected: int) -> None:
    marked = delete(pod(grace_s=grace_s), **options)
    assert marked.metadata.deletion_timestamp.seconds == NOW_S + expected
    assert marked.metadata.deletion_grace_period_seconds == expected


def test_a_repeated_delete_only_shortens_counted_from_the_first() -> None:
    marked = delete(pod())
    assert delete(marked, now_s=NOW_S + 1) is marked
    assert delete(marked, now_s=NOW_S + 1, grace_period_seconds=90) is marked
    shorter = delete(marked, now_s=NOW_S + 2, grace_period_seconds=10)
    assert shorter.metadata.deletion_timestamp.seconds == NOW_S + 10
    overdue = delete(marked, now_s=NOW_S + 20, grace_period_seconds=10)
    assert overdue.metadata.deletion_timestamp.seconds == NOW_S + 20
    assert delete(shorter, now_s=NOW_S + 3, grace_period_seconds=0) is None


def test_a_finalizer_holds_even_without_grace() -> None:
    marked = delete(pod(finalizers=("example.com/hold",)), grace_period_seconds=0)
    assert marked.metadata.HasField("deletion_timestamp")
    assert not objects.finished(marked)
    del marked.metadata.finalizers[:]
    assert objects.finished(marked)


def test_a_pod_in_its_grace_period_is_not_finished_by_losing_its_finalizers() -> None:
    marked = delete(pod(finalizers=("example.com/hold",)))
    del marked.metadata.finalizers[:]
    assert not objects.finished(marked)


def test_a_namespace_with_content_begins_to_terminate() -> None:
    namespace: Any = NAMESPACES.message()
    namespace.metadata.name, namespace.status.phase = "shop", "Active"
    namespace.spec.finalizers.append("kubernetes")
    marked = deleted(NAMESPACES, namespace, 5, DeleteOptions(), now_s=NOW_S)
    assert (marked.status.phase, marked.metadata.deletion_timestamp.seconds) == ("Terminating", NOW_S)
    assert deleted(NAMESPACES, marked, 6, DeleteOptions(), now_s=NOW_S + 9) is marked
    assert not objects.finished(marked)


@pytest.mark.parametrize("options", [{"uid": "other"}, {"resource_version": 4}])
def test_a_failed_precondition_is_a_conflict(options: dict[str, Any]) -> None:
    node: Any = NODES.message()
    node.metadata.uid = "uid"
    with pytest.raises(StatusError) as caught:
        deleted(NODES, node, 5, DeleteOptions(**options), now_s=NOW_S)
    assert (caught.value.reason, caught.value.current_rv) == ("Conflict", 5)
