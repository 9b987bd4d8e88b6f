"""Room that is being made: attempts that hold a promise, and the pods that they wait for.

A promise is the resource partition's, and outlives this process: what is known of it comes from the node's ledger. So a
scheduler that was killed in the middle of a preemption is followed by one that goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.scheduler.attempt import Attempt
from services.scheduler.core import NodeId
from services.scheduler.ledgers import SeenLedger

# When a promise that no ledger shows is asked about.
REVIEW_S = 1.0


class Promises:
    """``parked`` attempts wait for a change of their node's ledger; nobody works on them until then."""

    def __init__(self) -> None:
        self._parked: dict[NodeId, dict[str, Attempt]] = {}
        # As the ledgers show them: pod UID → UIDs of the pods whose end it waits for.
        self._shown: dict[NodeId, Mapping[str, Sequence[str]]] = {}
        self._node_of: dict[str, NodeId] = {}

    def note(self, node: NodeId, ledger: SeenLedger | None) -> list[Attempt]:
        """A ledger has changed (None: it is gone); returns the attempts whose promise is none any more: it is held, or
        gone with its node. They are parked no longer."""
        shown = ledger.promises if ledger is not None else {}
        before = self._shown.pop(node, None)
        if before is not None:
            for uid in before:
                if self._node_of.get(uid) == node:
                    del self._node_of[uid]
        if shown:
            self._shown[node] = shown
            self._node_of.update(dict.fromkeys(shown, node))
        found = [attempt for uid, attempt in self._parked.get(node, {}).items() if uid not in shown]
        for attempt in found:
            self.unpark(attempt)
        return found

    def __bool__(self) -> bool:
        """Some ledger shows a promise."""
        return bool(self._node_of)

    def node_of(self, uid: str) -> NodeId | None:
        """The node on which the pod has a promise."""
        return self._node_of.get(uid)

    def victims(self, attempt: Attempt) -> Iterable[str]:
        """UIDs of the pods that are to go for it."""
        shown = self._shown.get(attempt.node, {}).get(attempt.pod.uid, ())
        return dict.fromkeys((*attempt.replaces, *shown))

    def parked(self) -> list[Attempt]:
        """Attempts that wait, in no order."""
        return [attempt for waiting in self._parked.values() for attempt in waiting.values()]

    def forget(self, uid: str) -> None:
        """The pod's promise was given back, which its ledger may not show yet."""
        self._node_of.pop(uid, None)

    def park(self, attempt: Attempt, now: float) -> None:
        attempt.parked = True
        attempt.asked_at = now
        self._parked.setdefault(attempt.node, {})[attempt.pod.uid] = attempt

    def unpark(self, attempt: Attempt) -> None:
        """Idempotent."""
        if not attempt.parked:
            return
        attempt.parked = False
        parked = self._parked[attempt.node]
        del parked[attempt.pod.uid]
        if not parked:
            del self._parked[attempt.node]

    def in_doubt(self, now: float) -> list[Attempt]:
        """Attempts whose promise the ledger does not show: it came true before its answer was here, or was not seen
        yet. They are to be claimed again; after a pause, as the ledger may only be late."""
        found = [
            attempt
            for node, parked in self._parked.items()
            for uid, attempt in parked.items()
            if uid not in self._shown.get(node, ()) and now - attempt.asked_at >= REVIEW_S
        ]
        for attempt in found:
            self.unpark(attempt)
        return found
