"""Why no node takes a pod, in kube-scheduler's words (pkg/scheduler/framework FitError)."""

from __future__ import annotations

from collections import Counter

import numpy as np

from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Usage

NO_NODES = "no nodes available to schedule pods"


def explain(pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile) -> tuple[str, frozenset[str]]:
    """The message and the filters that refused a node; a node counts for the first one that refuses it."""
    reasons: Counter[str] = Counter()
    refused: set[str] = set()
    left = np.flatnonzero(nodes.alive)
    for node_filter in profile.node_filters:
        mask = node_filter.mask(pods, nodes)
        if mask is None or mask[left].all():
            continue
        reasons += node_filter.reasons(pods, nodes, left[~mask[left]])
        refused.add(node_filter.name)
        left = left[mask[left]]
    for usage_filter in profile.usage_filters:
        passes = usage_filter.passes(pods, nodes, usage, left, 0)
        if passes is None or passes.all():
            continue
        reasons += usage_filter.reasons(pods, nodes, usage, left[~passes])
        refused.add(usage_filter.name)
        left = left[passes]
    return message(nodes.count, reasons), frozenset(refused)


def message(nodes: int, reasons: Counter[str]) -> str:
    """``0/20 nodes are available: 12 Insufficient cpu, 8 node(s) had untolerated taint {k: v}.``"""
    if not nodes:
        return NO_NODES
    return f"0/{nodes} nodes are available: {', '.join(sorted(f'{n} {why}' for why, n in reasons.items()))}."
