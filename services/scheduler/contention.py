"""Lost races: which nodes' ledgers have changed, and which pods wait to hear of a change."""

from __future__ import annotations

from services.scheduler.core import NodeId


class Contention:
    """A pod whose claim was refused is planned again when the ledger of that node has told why: at once if it has
    changed since the pod was planned, else with its next change."""

    def __init__(self) -> None:
        # One count for all nodes: that of a node that came back is never less than before.
        self._changes = 0
        self._news: dict[NodeId, int] = {}
        self._waiting: dict[NodeId, set[str]] = {}
        self._node_of: dict[str, NodeId] = {}

    def news(self, node: NodeId) -> int:
        """A number that grows with each change of the node's ledger; 0: there is none."""
        return self._news.get(node, 0)

    def wait(self, node: NodeId, uid: str) -> None:
        """``changed`` of that node will name the pod, which waits for no other node any more."""
        self.forget(uid)
        self._waiting.setdefault(node, set()).add(uid)
        self._node_of[uid] = node

    def changed(self, node: NodeId, *, gone: bool = False) -> set[str]:
        """The node's ledger has changed (or is gone): the pods that waited for it."""
        self._changes += 1
        if gone:
            self._news.pop(node, None)
        else:
            self._news[node] = self._changes
        found = self._waiting.pop(node, set()) if self._waiting else set()
        for uid in found:
            del self._node_of[uid]
        return found

    def forget(self, uid: str) -> None:
        """The pod waits for nothing any more."""
        node = self._node_of.pop(uid, None)
        if node is not None:
            waiting = self._waiting[node]
            waiting.discard(uid)
            if not waiting:
                del self._waiting[node]

    def partition_removed(self, partition: str) -> None:
        """Nothing more will be heard of its nodes."""
        for node in [node for node in self._news if node.partition == partition]:
            del self._news[node]
        for node in [node for node in self._waiting if node.partition == partition]:
            for uid in self._waiting.pop(node):
                del self._node_of[uid]

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._news) + len(self._node_of)
