"""May a pod still have the node that it was given some time ago? The filters are asked again, for that one node.

kube-scheduler sends a nominated pod through a whole cycle before it is bound. Here a promise, or a claim that is found,
takes the place of the cycle's choice, not of its filters: a node may have been cordoned, tainted or lost since.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.scheduler.core import NodeId, NodeTable, PodInfo, Profile, Profiles
from services.scheduler.core.claimed import ClaimedRoom
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plan import ViewCache
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.rooms import other_usage_filters
from services.scheduler.core.usage import Usage


class Standing:
    """``admits``: what the Node objects say. ``holds``: what every filter of the pod's profile says.

    Room is the ledger's to judge, which has the pod's claim already: it only has to be no more than the node can give
    now (its allocatable may have shrunk). Ports of held claims never conflict.
    """

    def __init__(self, table: NodeTable, room: ClaimedRoom, profile: Profile | Profiles, views: ViewCache) -> None:
        self._table = table
        self._room = room
        self._profile = profile
        self._views = views

    def admits(self, pod: PodInfo, node: NodeId) -> bool:
        """The node is a candidate, and every node filter lets the pod pass."""
        row = self._table.row(node)
        if row is None or not self._table.is_candidate(node):
            return False
        rows = self._views.get(pod.kind, self._table.columns(), self._profile.of(pod.kind)).rows
        index = int(np.searchsorted(rows, row))
        return index < len(rows) and int(rows[index]) == row

    def may_wait(self, pod: PodInfo, node: NodeId) -> bool:
        """And the pod would fit if it were alone there: who waits for room does not wait for what cannot be."""
        row = self._table.row(node)
        if row is None or not self.admits(pod, node):
            return False
        nodes = self._table.columns()
        return all(amount <= _allocatable(nodes, resource, row) for resource, amount in self._requests(pod))

    def holds(self, pod: PodInfo, node: NodeId, gone: Iterable[str] = ()) -> bool:
        """Every filter lets the pod pass. Not counted are the pod itself, which may be here or on another node, and the
        pods of the UIDs ``gone``, whose end the watch may not have shown yet."""
        row = self._table.row(node)
        if row is None or not self.admits(pod, node):
            return False
        nodes = self._table.columns()
        return not self._overdrawn(pod, node, row, nodes) and self._neighbours_agree(pod, row, nodes, gone)

    def _overdrawn(self, pod: PodInfo, node: NodeId, row: int, nodes: NodeColumns) -> bool:
        return any(
            self._room.claimed(node, resource) > _allocatable(nodes, resource, row)
            for resource, _ in self._requests(pod)
        )

    def _requests(self, pod: PodInfo) -> Iterable[tuple[str, int]]:
        filters = self._profile.of(pod.kind).usage_filters
        fit = next((known for known in filters if isinstance(known, NodeResourcesFit)), None)
        return () if fit is None else fit.requests(pod.kind)

    def _neighbours_agree(self, pod: PodInfo, row: int, nodes: NodeColumns, gone: Iterable[str]) -> bool:
        kind = pod.kind
        profile = self._profile.of(kind)
        others = other_usage_filters(profile)
        usage = self._table.usage
        if not others and not any(known.topology_keys(kind, usage) for known in profile.domain_filters):
            return True
        usage = self._without(usage, (pod.uid, *gone))
        rows = np.asarray([row])
        for usage_filter in others:
            passes = usage_filter.passes(kind, nodes, usage, rows, 0)
            if passes is not None and not passes.all():
                return False
        for domain_filter in profile.domain_filters:
            keys = domain_filter.topology_keys(kind, usage)
            if not keys:
                continue
            topology = nodes.topology(keys)
            if not domain_filter.open(kind, nodes, usage, topology).mask[topology.group[rows]].all():
                return False
        return True

    def _without(self, usage: Usage, uids: Iterable[str]) -> Usage:
        table = self._table
        found = ((table.pod(uid), table.node_of(uid)) for uid in dict.fromkeys(uids))
        counted = ((pod, table.row(node)) for pod, node in found if pod is not None and node is not None)
        return usage.without((pod.kind, row) for pod, row in counted if row is not None)


def _allocatable(nodes: NodeColumns, resource: str, row: int) -> int:
    index = nodes.resources.get(resource)
    return 0 if index is None else int(nodes.allocatable[index, row])
