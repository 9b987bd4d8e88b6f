"""What is kept of a pod: its message while it waits, its class whatever node it is on."""

from __future__ import annotations

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.scheduler.core import NodeId, PodClasses, PodInfo
from services.scheduler.seen import PodReader
from tests.support.scheduling import make_pod


class Known(dict[str, PodInfo]):
    """Pods that the scheduler remembers, by UID."""


def reader(known: Known | None = None) -> PodReader:
    return PodReader({"default-scheduler"}, PodClasses(), (Known() if known is None else known).get)


def wire(name: str, *, node: tuple[str, str] | None = None, **spec: int) -> bytes:
    pod = make_pod(name, cpu="1", node=node)
    for field, value in spec.items():
        setattr(pod.spec, field, value)
    return pod.SerializeToString()


def nominated(name: str, node: str) -> bytes:
    pod = make_pod(name, cpu="1")
    pod.status.nominated_node_name = node
    return pod.SerializeToString()


def test_pods_of_a_template_are_of_one_class_wherever_they_are_and_whatever_their_epoch() -> None:
    read = reader()
    kinds = {
        id(read(data).info.kind)
        for data in (
            wire("waiting"),
            wire("fenced", bind_epoch=3),
            wire("here", node=("rp-1", "node-1")),
            nominated("preemptor", "node-3"),
            wire("there", node=("rp-2", "node-9"), bind_epoch=1, capacity_claimed=True),
        )
    }
    assert len(kinds) == 1


def test_a_waiting_pod_is_kept_whole_a_placed_one_is_not() -> None:
    read = reader()
    waiting, placed = read(wire("a", bind_epoch=2)), read(wire("b", node=("rp-1", "node-1")))
    assert waiting.pod is not None and waiting.pod.spec.bind_epoch == waiting.epoch == 2
    assert placed.pod is None and placed.node == NodeId("rp-1", "node-1") and not placed.ours


def test_a_placed_pod_that_is_remembered_is_not_classified_again_until_it_changes() -> None:
    known = Known()
    read = reader(known)
    first = read(wire("web", node=("rp-1", "node-1"))).info
    known[first.uid] = first
    assert read(wire("web", node=("rp-1", "node-1"))).info is first
    ending = Pod.FromString(wire("web", node=("rp-1", "node-1")))
    ending.metadata.deletion_timestamp.seconds = 1
    changed = read(ending.SerializeToString()).info
    assert changed.kind.ending and changed.sequence == first.sequence
    # Ending pods of one template are of one class, too.
    other = Pod.FromString(wire("other", node=("rp-2", "node-7")))
    other.metadata.deletion_timestamp.seconds = 1
    assert read(other.SerializeToString()).info.kind is changed.kind
