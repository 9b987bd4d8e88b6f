"""A pod as the scheduler keeps it: the whole message while it waits for a node, a few fields once it has one."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Literal

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.client.informer import Accessors
from services.placement.pods import is_terminal
from services.scheduler.core import NodeId, PodClasses, PodInfo


# Not frozen, as a frozen one takes three times as long to make; nobody writes to it.
@dataclass(slots=True, eq=False)
class SeenPod:
    """``node`` is None while the pod is unbound; ``data`` is None when its message is no longer needed."""

    uid: str
    resource_version: int
    info: PodInfo
    node: NodeId | None
    over: bool  # terminal: takes nothing of its node
    ours: bool  # this scheduler is to place it
    gated: bool
    epoch: int  # spec.bindEpoch
    data: bytes | None

    @property
    def pod(self) -> Pod | None:
        """The message, parsed anew each time: few are ever asked for, and bytes are a tenth of a message's size."""
        return None if self.data is None else Pod.FromString(self.data)


PLACED_ACCESSORS: Accessors[SeenPod] = Accessors(
    key=lambda seen: seen.uid, uid=lambda seen: seen.uid, version=lambda seen: seen.resource_version
)


_OF_THE_BIND: tuple[Literal["node_name", "resource_partition", "bind_epoch", "capacity_claimed"], ...] = (
    "node_name",
    "resource_partition",
    "bind_epoch",
    "capacity_claimed",
)


class PodReader:
    """Decodes pods; those of ``scheduler_names`` are ours to place.

    A placed pod that is known already is not classified again: its requests cannot change.
    """

    def __init__(
        self, scheduler_names: Container[str], classes: PodClasses, known: Callable[[str], PodInfo | None]
    ) -> None:
        self._scheduler_names = scheduler_names
        self._classes = classes
        self._known = known

    def __call__(self, data: bytes) -> SeenPod:
        """Raises ``google.protobuf.message.DecodeError``."""
        return self.read(Pod.FromString(data), data)

    def read(self, pod: Pod, data: bytes | None = None) -> SeenPod:
        """``data``: the bytes of ``pod``, if they are at hand. ``pod`` is changed: it is read once."""
        metadata, spec = pod.metadata, pod.spec
        over = is_terminal(pod)
        node = NodeId(spec.resource_partition, spec.node_name) if spec.node_name else None
        known = self._known(metadata.uid) if node is not None else None
        epoch = spec.bind_epoch
        ours = node is None and not over and spec.scheduler_name in self._scheduler_names
        if ours and data is None:
            data = pod.SerializeToString()
        if known is None or not self._is_as(known, pod):
            # Where a pod is says nothing about what it is: else each node would make a class of its own.
            for of_the_bind in _OF_THE_BIND:
                spec.ClearField(of_the_bind)
            pod.status.ClearField("nominated_node_name")
            known = self._classes.info(pod) if known is None else self._classes.current(known, pod)
        return SeenPod(
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            info=known,
            node=node,
            over=over,
            ours=ours and not metadata.HasField("deletion_timestamp"),
            gated=bool(spec.scheduling_gates),
            epoch=epoch,
            data=data if ours else None,
        )

    @staticmethod
    def _is_as(known: PodInfo, pod: Pod) -> bool:
        """Nothing has changed of what is remembered of a placed pod."""
        kind, metadata = known.kind, pod.metadata
        return (
            metadata.HasField("deletion_timestamp") == kind.ending
            and pod.status.start_time.seconds == known.started
            and metadata.labels == kind.labels
        )
