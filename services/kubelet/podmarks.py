"""What a host writes into the pod timeline, while that is on."""

from __future__ import annotations

from collections.abc import Iterable

from services.base.timeline import PodTimeline, Stage
from services.kubelet.podstatus import NodeFacts
from services.kubelet.provenance import Provenance
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType


class PodMarks:
    """Nodes are named as the timeline names them: ``<resource partition>/<name>``."""

    def __init__(self, timeline: PodTimeline, provenance: Provenance) -> None:
        self._timeline = timeline
        self._provenance = provenance

    def seen(self, uid: str, node: NodeFacts) -> None:
        """For the first time."""
        if self._timeline.on:
            self._timeline.mark(Stage.NODE_SEEN, uid, str(node))

    def running(self, uid: str, node: NodeFacts) -> None:
        """The status Running is acknowledged."""
        if self._timeline.on:
            self._timeline.mark(Stage.RUNNING, uid, str(node))

    def gone(self, uids: Iterable[str], node: NodeFacts) -> None:
        """Their containers ended with their machine."""
        if self._timeline.on:
            for uid in uids:
                self._timeline.mark(Stage.END, uid, str(node))

    def heard(self, event: RuntimeEvent) -> None:
        """Containers began or ended."""
        origin = self._provenance.peek(event.uid) if self._timeline.on else None
        if origin is None:
            return
        node = str(origin.kubelet.facts)
        if event.type is RuntimeEventType.STARTED:
            self._timeline.mark(Stage.RUN, event.uid, node)
            self._timeline.mark(Stage.STARTED, event.uid, node)
        elif event.type in (RuntimeEventType.EXITED, RuntimeEventType.STOPPED):
            self._timeline.mark(Stage.END, event.uid, node)
