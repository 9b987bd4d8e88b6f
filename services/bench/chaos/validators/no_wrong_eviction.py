"""NoWrongEviction: only nodes that were really silent for longer than the grace are tainted, and only their pods
evicted; a partition that is dead, frozen or out of reach is no reason."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.causes import Cause, cause, silence_before
from services.bench.chaos.facts import NodeSeen
from services.bench.chaos.history import History
from services.bench.chaos.validators.violation import Violation

# The taint eviction controller says so in the pod's condition DisruptionTarget.
EVICTION_REASONS = frozenset({"DeletionByTaintManager", "EvictionByEvictionAPI"})


def no_wrong_eviction(history: History) -> Iterator[Violation]:
    if not history.of(NodeSeen):
        yield Violation("no watch told of any node: there is nothing to judge")
    yield from _nodes(history)
    for life in history.pods.values():
        if life.disruption in EVICTION_REASONS and not _was_silent(history, life.node, life.ending_at):
            yield Violation(f"{life.key} was evicted from {life.node}, which was not silent", life.uid, life.node)
        elif life.ending_at < float("inf") and cause(history, life) is Cause.NONE:
            where = f"on {life.node}" if life.node else "which is bound nowhere"
            yield Violation(f"{life.key} {where} was deleted for no recorded reason", life.uid, life.node)


def _was_silent(history: History, node: str, at: float) -> bool:
    return bool(node) and silence_before(history, node, at, tolerated=True) is not None


def _nodes(history: History) -> Iterator[Violation]:
    """A node that was well once is called unwell only when it is."""
    well: set[str] = set()
    # The state stays until it is undone; each kind of it is told once.
    blamed: set[tuple[str, str]] = set()
    for one in sorted(history.of(NodeSeen), key=lambda seen: seen.at):
        if one.event == "deleted":
            yield Violation(f"{one.node} was deleted", node=one.node)
            continue
        complaint = _complaint(one)
        if not complaint:
            well.add(one.node)
        elif one.node in well and silence_before(history, one.node, one.at, tolerated=False) is None:
            if (one.node, complaint) not in blamed:
                yield Violation(f"{one.node} was {complaint}, and had not been silent", node=one.node)
            blamed.add((one.node, complaint))


def _complaint(node: NodeSeen) -> str:
    if node.no_execute:
        return f"tainted {', '.join(node.no_execute)}"
    return "" if node.ready == "True" else f"called {node.ready or 'nothing'}"
