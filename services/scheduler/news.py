"""What may help waiting pods: collected as it happens, and told to whoever waits."""

from __future__ import annotations

from services.scheduler.alternatives import Alternatives
from services.scheduler.core import PodInfo
from services.scheduler.core.plugin import Cluster, PodChange
from services.scheduler.queue import SchedulingQueue


class News:
    """Changes of the cluster are told at once; pods that came and went by class, and only when ``tell`` is called."""

    def __init__(self, queue: SchedulingQueue, alternatives: Alternatives) -> None:
        self._queue = queue
        self._alternatives = alternatives
        self._pods: dict[tuple[int, Cluster], PodChange] = {}

    def happened(self, changes: Cluster, now: float) -> None:
        if changes:
            self._alternatives.happened()
        self._queue.happened(changes, now)

    def pod(self, pod: PodInfo, what: Cluster) -> None:
        """A pod came to a node or left it. Of a class it is enough to know once."""
        self._pods.setdefault((id(pod.kind), what), PodChange(pod.kind, what))

    def tell(self, now: float) -> None:
        if not self._pods:
            return
        pods, self._pods = self._pods, {}
        if any(what is Cluster.POD_GONE for _, what in pods):
            self._alternatives.happened()
        self._queue.happened(Cluster.NOTHING, now, pods.values())
