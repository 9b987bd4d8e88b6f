"""What comes out of a round of planning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.scheduler.attempt import Attempt
from services.scheduler.core import NodeId
from services.scheduler.seen import SeenPod


@dataclass(frozen=True, slots=True)
class Refusal:
    """``pod`` has no node: ``reason`` and ``message`` go into its condition PodScheduled.

    ``nominated``: the node on which room is being made for it.
    """

    pod: SeenPod
    reason: str
    message: str
    nominated: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a batch: ``attempts`` are to be carried out, ``refusals`` to be told to their pods."""

    attempts: Sequence[Attempt]
    refusals: Sequence[Refusal]
