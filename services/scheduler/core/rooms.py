"""One node without its possible victims: does the preemptor fit, and does it still, when a victim comes back?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from services.placement.pods import ports_conflict
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import UsageFilter
from services.scheduler.core.plugins.node_ports import NodePorts
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.pods import PodClass, PodInfo
from services.scheduler.core.ports import HostPort
from services.scheduler.core.profile import Profile
from services.scheduler.core.usage import Usage


class Wants:
    """What of a class decides on a node alone: resources and host ports. Amounts of other classes, cached."""

    def __init__(self, pods: PodClass, nodes: NodeColumns, profile: Profile) -> None:
        fit = next((known for known in profile.usage_filters if isinstance(known, NodeResourcesFit)), None)
        requests = () if fit is None else tuple(fit.requests(pods))
        self.resources = tuple(resource for resource, _ in requests)
        self.amounts = tuple(amount for _, amount in requests)
        self.indexes = tuple(nodes.resources.get(resource, -1) for resource in self.resources)
        has_ports = any(isinstance(known, NodePorts) for known in profile.usage_filters)
        self.ports: frozenset[HostPort] = pods.host_ports if has_ports else frozenset()
        self._sizes: dict[PodClass, tuple[int, ...]] = {}

    def sizes(self, pods: PodClass) -> tuple[int, ...]:
        """What a pod of class ``pods`` takes of each of ``resources``."""
        found = self._sizes.get(pods)
        if found is None:
            found = self._sizes[pods] = tuple(pods.requests.get(resource, 0) for resource in self.resources)
        return found


class CountedRoom:
    """Resources and host ports: sums, no filter is asked."""

    def __init__(self, wants: Wants, nodes: NodeColumns, usage: Usage, row: int, without: Sequence[PodInfo]) -> None:
        self._wants = wants
        self._free = [
            int(nodes.allocatable[index, row] - usage.requested[index, row]) if index >= 0 else 0
            for index in wants.indexes
        ]
        for pod in without:
            self._free = [free + size for free, size in zip(self._free, wants.sizes(pod.kind), strict=True)]
        self._taken = _ports_left(wants.ports, usage, row, without) if wants.ports else ()

    def fits(self) -> bool:
        room = all(free >= amount for free, amount in zip(self._free, self._wants.amounts, strict=True))
        return room and not (self._taken and ports_conflict(self._wants.ports, self._taken))

    def put_back(self, pod: PodInfo) -> bool:
        wants = self._wants
        if wants.ports and pod.kind.host_ports and ports_conflict(wants.ports, pod.kind.host_ports):
            return False
        left = [free - size for free, size in zip(self._free, wants.sizes(pod.kind), strict=True)]
        if any(free < amount for free, amount in zip(left, wants.amounts, strict=True)):
            return False
        self._free = left
        return True

    def take_out(self, pod: PodInfo) -> None:
        """Undo a ``put_back``."""
        self._free = [free + size for free, size in zip(self._free, self._wants.sizes(pod.kind), strict=True)]


def _ports_left(wanted: Iterable[HostPort], usage: Usage, row: int, without: Iterable[PodInfo]) -> list[HostPort]:
    """The ports of ``row`` that may conflict, but for those of pods that are out."""
    taken: Counter[HostPort] = Counter()
    for protocol, port in {(protocol, port) for protocol, _, port in wanted}:
        for address, count in usage.ports.addresses(row, protocol, port).items():
            taken[(protocol, address, port)] = count
    for pod in without:
        taken.subtract(pod.kind.host_ports)
    return [port for port, count in taken.items() if count > 0]


class FilteredRoom:
    """Whatever the profile's filters say with the pods away: for classes that look at other pods or other nodes."""

    def __init__(
        self,
        pods: PodClass,
        nodes: NodeColumns,
        usage: Usage,
        profile: Profile,
        row: int,
        counted: CountedRoom,
        without: Sequence[PodInfo],
    ) -> None:
        self._pods = pods
        self._nodes = nodes
        self._usage = usage
        self._profile = profile
        self._row = row
        self._counted = counted
        self._out = {pod.uid: pod for pod in without}
        self.reasons: Counter[str] = Counter()

    def fits(self) -> bool:
        return self._counted.fits() and self._passes()

    def put_back(self, pod: PodInfo) -> bool:
        if not self._counted.put_back(pod):
            return False
        del self._out[pod.uid]
        if self._passes():
            return True
        self._out[pod.uid] = pod
        self._counted.take_out(pod)
        return False

    def _passes(self) -> bool:
        usage = self._usage.without((pod.kind, self._row) for pod in self._out.values())
        rows = np.asarray([self._row])
        for usage_filter in other_usage_filters(self._profile):
            passes = usage_filter.passes(self._pods, self._nodes, usage, rows, 0)
            if passes is not None and not passes.all():
                self.reasons = usage_filter.reasons(self._pods, self._nodes, usage, rows)
                return False
        for domain_filter in self._profile.domain_filters:
            keys = domain_filter.topology_keys(self._pods, usage)
            if not keys:
                continue
            topology = self._nodes.topology(keys)
            answer = domain_filter.open(self._pods, self._nodes, usage, topology)
            group = topology.group[rows]
            if not answer.mask[group].all():
                self.reasons = answer.reasons(group)
                return False
        return True


def other_usage_filters(profile: Profile) -> list[UsageFilter]:
    """Those that are not plain sums."""
    return [known for known in profile.usage_filters if not isinstance(known, NodeResourcesFit | NodePorts)]
