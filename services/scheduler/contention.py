"""Lost races: which nodes' ledgers have changed, and which pods wait to hear of a change."""

from __future__ import annotations

from services.scheduler.core import NodeId


class Contention:
    """A pod whose claim was refused is planned again when the ledger of that node has told why: at once if it has
    changed since the pod was planned, else with its next change."""

    def __init__(self) -> None:
        self._news: dict[NodeId, int] = {}
        self._waiting: dict[NodeId, set[str]] = {}

    def news(self, node: NodeId) -> int:
        """How often the node's ledger has changed."""
        return self._news.get(node, 0)

    def wait(self, node: NodeId, uid: str) -> None:
        """``changed`` of that node will name the pod."""
        self._waiting.setdefault(node, set()).add(uid)

    def changed(self, node: NodeId) -> set[str]:
        """The node's ledger has changed: the pods that waited for it."""
        self._news[node] = self._news.get(node, 0) + 1
        return self._waiting.pop(node, set()) if self._waiting else set()

    def partition_removed(self, partition: str) -> None:
        """Nothing more will be heard of its nodes."""
        for node in [node for node in self._news if node.partition == partition]:
            del self._news[node]
        for node in [node for node in self._waiting if node.partition == partition]:
            del self._waiting[node]
