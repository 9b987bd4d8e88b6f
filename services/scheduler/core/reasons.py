"""Why no node takes a pod, in kube-scheduler's words (pkg/scheduler/framework FitError)."""

from __future__ import annotations

from collections import Counter

from services.scheduler.core.feasibility import refusals
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Usage

NO_NODES = "no nodes available to schedule pods"


def explain(pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile) -> tuple[str, frozenset[str]]:
    """The message and the filters that refused a node; a node counts for the first one that refuses it."""
    reasons: Counter[str] = Counter()
    refused: set[str] = set()
    for step in refusals(pods, nodes, usage, profile):
        reasons += step.reasons()
        refused.add(step.filter.name)
    return message(nodes.count, reasons), frozenset(refused)


def message(nodes: int, reasons: Counter[str]) -> str:
    """``0/20 nodes are available: 12 Insufficient cpu, 8 node(s) had untolerated taint {k: v}.``"""
    if not nodes:
        return NO_NODES
    return f"0/{nodes} nodes are available: {', '.join(sorted(f'{n} {why}' for why, n in reasons.items()))}."
