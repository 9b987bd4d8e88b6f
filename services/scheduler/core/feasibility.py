"""Which nodes a class may use right now, filter by filter: what preemption and explanations stand on.

The plan itself does not come here: it keeps its answers while it places pods (``ranking``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import Filter, PodChange
from services.scheduler.core.pods import PodClass
from services.scheduler.core.profile import Profile, Profiles
from services.scheduler.core.usage import Usage


@dataclass(frozen=True, eq=False)
class Refused:
    """The rows that ``filter`` refused, of those that every filter before it let pass.

    ``hopeless`` says for each of ``rows`` that no pod's leaving can change that (kube-scheduler's
    UnschedulableAndUnresolvable).
    """

    filter: Filter
    rows: Ints
    hopeless: Bools
    reasons: Callable[[], Counter[str]]


def feasible(pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile) -> Bools:
    """True for every row that passes every filter; shape (rows,)."""
    passes = nodes.alive.copy()
    for refused in refusals(pods, nodes, usage, profile):
        passes[refused.rows] = False
    return passes


def refusals(pods: PodClass, nodes: NodeColumns, usage: Usage, profile: Profile) -> Iterator[Refused]:
    """Each filter that refuses a node that the filters before it did not, in the profile's order."""
    left = np.flatnonzero(nodes.alive)
    for node_filter in profile.node_filters:
        mask = node_filter.mask(pods, nodes)
        if mask is None or mask[left].all():
            continue
        rows, left = left[~mask[left]], left[mask[left]]
        hopeless = np.ones(len(rows), dtype=np.bool_)
        yield Refused(node_filter, rows, hopeless, _bound(node_filter.reasons, pods, nodes, rows))
    for usage_filter in profile.usage_filters:
        passes = usage_filter.passes(pods, nodes, usage, left, 0)
        if passes is None or passes.all():
            continue
        rows, left = left[~passes], left[passes]
        hopeless = np.zeros(len(rows), dtype=np.bool_)
        yield Refused(usage_filter, rows, hopeless, _bound(usage_filter.reasons, pods, nodes, usage, rows))
    for domain_filter in profile.domain_filters:
        keys = domain_filter.topology_keys(pods, usage)
        if not keys:
            continue
        topology = nodes.topology(keys)
        answer = domain_filter.open(pods, nodes, usage, topology)
        passes = answer.mask[topology.group[left]]
        if passes.all():
            continue
        rows, left = left[~passes], left[passes]
        groups = topology.group[rows]
        yield Refused(domain_filter, rows, answer.hopeless()[groups], _bound(answer.reasons, groups))


def helps(pods: PodClass, refused_by: frozenset[str], change: PodChange, profile: Profile | Profiles) -> bool:
    """Some filter of ``refused_by`` may let ``pods`` pass now that ``change`` has happened: worth another try."""
    return any(known.name in refused_by and known.helps(pods, change) for known in profile.of(pods).filters)


def _bound(reasons: Callable[..., Counter[str]], *arguments: object) -> Callable[[], Counter[str]]:
    return lambda: reasons(*arguments)
