"""Room that is being made: attempts that hold a promise, and the pods that they wait for.

A promise is the resource partition's, and outlives this process: what is known of it comes from the node's ledger. So a
scheduler that was killed in the middle of a preemption is followed by one that goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.scheduler.attempt import Attempt
from services.scheduler.core import NodeId
from services.scheduler.ledgers import SeenLedger
from services.scheduler.standing import Standing

# When a promise that no ledger shows is asked about.
REVIEW_S = 1.0


class Promises:
    """``parked`` attempts wait for a change of their node's ledger; nobody works on them until then.

    Those whose node the pod may not have any more (``stands``) are not handed out to be carried on: they stay parked
    until somebody gives their promise back, or the node is as it should be again.
    """

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._parked: dict[NodeId, dict[str, Attempt]] = {}
        # As the ledgers show them: pod UID → UIDs of the pods whose end it waits for.
        self._shown: dict[NodeId, Mapping[str, Sequence[str]]] = {}
        self._node_of: dict[str, NodeId] = {}
        # Promises that were given back: a ledger that still shows one is older than that.
        self._given_back: dict[str, NodeId] = {}

    def note(self, node: NodeId, ledger: SeenLedger | None) -> list[Attempt]:
        """A ledger has changed (None: it is gone); returns the attempts whose promise is none any more: it is held, or
        gone with its node, and which may go on. They are parked no longer."""
        shown = ledger.promises if ledger is not None else {}
        before = self._shown.pop(node, None)
        if before is not None:
            for uid in before:
                if self._node_of.get(uid) == node:
                    del self._node_of[uid]
        if shown:
            self._shown[node] = shown
            self._node_of.update((uid, node) for uid in shown if self._given_back.get(uid) != node)
        parked = self._parked.get(node, {})
        for uid in shown.keys() & parked.keys():
            _remember(parked[uid], shown[uid])
        found = [attempt for uid, attempt in parked.items() if uid not in shown and self.stands(attempt)]
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
        return dict.fromkeys((*attempt.replaces, *self.shown(attempt.pod.uid, attempt.node)))

    def shown(self, uid: str, node: NodeId) -> Sequence[str]:
        """UIDs of the pods that the pod's promise on ``node`` waits for, as the ledger shows it."""
        return self._shown.get(node, {}).get(uid, ())

    def stands(self, attempt: Attempt) -> bool:
        """The pod may still have its node: while it waits, as far as the Node object goes; once the promise may have
        come true, as far as every filter goes."""
        if attempt.pod.uid in self._shown.get(attempt.node, ()):
            return self._standing.may_wait(attempt.pod, attempt.node)
        return self._standing.holds(attempt.pod, attempt.node, (*attempt.replaces, *attempt.waited_for))

    def parked(self) -> list[Attempt]:
        """Attempts that wait, in no order."""
        return [attempt for waiting in self._parked.values() for attempt in waiting.values()]

    def given_back(self, uid: str, node: NodeId) -> None:
        """The pod's promise on ``node`` is no more, which the ledger may not show yet."""
        self._given_back[uid] = node
        if self._node_of.get(uid) == node:
            del self._node_of[uid]

    def forget(self, uid: str) -> None:
        """The pod has a node, or is gone."""
        self._given_back.pop(uid, None)

    def forget_all(self) -> None:
        """Others may make promises now: what the ledgers show is all that is known."""
        self._given_back.clear()
        self._node_of = {uid: node for node, shown in self._shown.items() for uid in shown}

    def park(self, attempt: Attempt, now: float) -> None:
        attempt.parked = True
        attempt.asked_at = now
        if self._given_back.get(attempt.pod.uid) == attempt.node:
            # This is a new one.
            del self._given_back[attempt.pod.uid]
        _remember(attempt, self.shown(attempt.pod.uid, attempt.node))
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
            if uid not in self._shown.get(node, ()) and now - attempt.asked_at >= REVIEW_S and self.stands(attempt)
        ]
        for attempt in found:
            self.unpark(attempt)
        return found


def _remember(attempt: Attempt, victims: Iterable[str]) -> None:
    attempt.waited_for = tuple(dict.fromkeys((*attempt.waited_for, *victims)))
