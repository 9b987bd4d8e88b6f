"""A pod as the scheduler keeps it: the whole message while it waits for a node, a few fields once it has one."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from services.api import keys
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.client.informer import Accessors
from services.placement.pods import is_terminal
from services.scheduler.core import NodeId, PodClasses, PodInfo


# Not frozen, as a frozen one takes three times as long to make; nobody writes to it.
@dataclass(slots=True, eq=False)
class SeenPod:
    """``node`` is None while the pod is unbound; ``data`` is None when its message is no longer needed."""

    key: str
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
    key=lambda seen: seen.key, uid=lambda seen: seen.uid, version=lambda seen: seen.resource_version
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
        """``data``: the bytes of ``pod``, if they are at hand."""
        metadata, spec = pod.metadata, pod.spec
        over = is_terminal(pod)
        node = NodeId(spec.resource_partition, spec.node_name) if spec.node_name else None
        known = self._known(metadata.uid) if node is not None else None
        ours = node is None and not over and spec.scheduler_name in self._scheduler_names
        return SeenPod(
            key=keys.key_of(PODS, pod),
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            info=self._classes.current(known, pod) if known is not None else self._classes.info(pod),
            node=node,
            over=over,
            ours=ours and not metadata.HasField("deletion_timestamp"),
            gated=bool(spec.scheduling_gates),
            epoch=spec.bind_epoch,
            data=(data or pod.SerializeToString()) if ours else None,
        )
