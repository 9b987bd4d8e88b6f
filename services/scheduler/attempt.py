"""One try to give a pod a node: from the plan, over the claim and the bind, to its outcome."""

from __future__ import annotations

from dataclasses import dataclass

from services.scheduler.core import NodeId, PodInfo
from services.scheduler.queue import Entry


@dataclass(slots=True, eq=False)
class Attempt:
    """``pod`` is counted on ``node`` while this is the pod's current attempt.

    ``node_uid``: which node of that name was meant ("": any). ``epoch``: the pod's ``spec.bindEpoch`` when it was
    planned; claim and bind name it. ``news``: how often the node's ledger had changed when it was planned.
    ``replaces``: UIDs of the pods whose room is claimed with it (preemption). ``parked``: it holds a promise, and
    nobody works on it until the node's ledger changes; ``asked_at``: when that was answered (monotonic seconds).
    ``waited_for``: UIDs of the pods that the ledger has shown to be in the way of the promise, gone by now or not.
    """

    pod: PodInfo
    node: NodeId
    node_uid: str
    epoch: int
    entry: Entry
    news: int = 0
    replaces: tuple[str, ...] = ()
    parked: bool = False
    asked_at: float = 0.0
    waited_for: tuple[str, ...] = ()

    @property
    def profile(self) -> str:
        """The name of the profile that places the pod."""
        return self.pod.kind.pod.spec.scheduler_name
