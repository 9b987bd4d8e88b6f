"""Which nodes of a host are disturbed, and for how long: chosen by share or by name, ended by time or by hand."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial

import grpc

from services.base.rand import Rand
from services.client.timers import Timers
from services.kubelet import metrics
from services.kubelet.config import Pool
from services.kubelet.distribution import Outage, exponential_s
from services.kubelet.hollow import HollowRuntime
from services.kubelet.machine import Disturbance, Machine, Trouble
from services.rpc.status import StatusError, bad_field

_log = logging.getLogger(__name__)

# How long the process manager of a machine takes to start a kubelet that has crashed by chance.
CRASH_DOWN_S = 1.0


class Disturber:
    """``machines`` are the host's, in its order; ``begin(machine)`` is called when its ``trouble`` has been set and
    ``end(machine, trouble)`` when it has been taken away."""

    def __init__(
        self,
        machines: Sequence[Machine],
        *,
        begin: Callable[[Machine], None],
        end: Callable[[Machine, Trouble], None],
        timers: Timers,
        rand: Rand,
    ) -> None:
        self._machines = machines
        self._begin = begin
        self._end = end
        self._timers = timers
        self._rand = rand

    def disturb(
        self,
        kind: Disturbance,
        *,
        share: float = 0.0,
        nodes: Collection[str] = (),
        for_s: float = 0.0,
        seed: int | None = None,
        resource_partition: str = "",
    ) -> list[str]:
        """Disturb that share of the nodes, or those named; the names, in order. ``for_s`` 0: until ``restore``.

        Raises ``StatusError`` naming the field; then nothing has changed.
        """
        if not 0 <= for_s < math.inf:
            raise bad_field("for_seconds", f"must not be negative or endless, is {for_s}")
        candidates = self._of(resource_partition)
        if nodes and share:
            raise bad_field("share", "may not be given beside nodes")
        chosen = self._named(nodes, candidates) if nodes else self._share(share, candidates, seed)
        self._strike(kind, chosen, for_s)
        return sorted(machine.name for machine in chosen)

    def restore(self, nodes: Collection[str] = (), resource_partition: str = "") -> list[str]:
        """End the trouble of these nodes, of all if none are named; the names of those that had any. Raises
        ``StatusError``."""
        candidates = self._of(resource_partition)
        chosen = self._find(nodes, candidates) if nodes else candidates
        troubled = [machine for machine in chosen if machine.trouble is not None]
        for machine in troubled:
            self._relieve(machine)
        return sorted(machine.name for machine in troubled)

    def plan(self, pool: Pool, machines: Sequence[Machine]) -> None:
        """What a pool's configuration says of the pool's ``machines``."""
        for kind, text in ((Disturbance.DEATH, pool.death), (Disturbance.CUT, pool.cut)):
            if text:
                self.schedule(kind, Outage.parse(text), pool.resource_partition, pool.names)
        if pool.crash_rate_per_hour:
            self.crash_at_random(machines, pool.crash_rate_per_hour)

    def schedule(self, kind: Disturbance, outage: Outage, resource_partition: str, names: Collection[str]) -> None:
        """Strike a share of these nodes once, at its time."""
        among = frozenset(names)

        def strike() -> None:
            standing = [m for m in self._of(resource_partition) if m.trouble is None and m.name in among]
            self._strike(kind, self._sample(standing, outage.share, len(among), self._rand), outage.for_s)

        self._timers.after(outage.after_s, strike)

    def crash_at_random(self, machines: Sequence[Machine], per_hour: float) -> None:
        """Each of these kubelets crashes ``per_hour`` times an hour, independently of the others."""
        mean_s = 3600.0 / (per_hour * len(machines))

        def crash() -> None:
            machine = self._rand.choice(machines)
            if machine.trouble is None:
                self._strike(Disturbance.CRASH, [machine], CRASH_DOWN_S)
            self._timers.after(exponential_s(mean_s, self._rand), crash)

        self._timers.after(exponential_s(mean_s, self._rand), crash)

    def _strike(self, kind: Disturbance, machines: Sequence[Machine], for_s: float) -> None:
        _log.warning("nodes disturbed", extra={"kind": kind.value, "nodes": len(machines), "for_s": for_s})
        ends = bool(for_s) or kind is Disturbance.CRASH
        for machine in machines:
            trouble = machine.trouble = Trouble(kind)
            metrics.DISTURBED_NODES.labels(kind.value).inc()
            self._begin(machine)
            if ends:
                self._timers.after(for_s, partial(self._over, machine, trouble))

    def _over(self, machine: Machine, trouble: Trouble) -> None:
        if machine.trouble is trouble:
            self._relieve(machine)

    def _relieve(self, machine: Machine) -> None:
        trouble, machine.trouble = machine.trouble, None
        if trouble is not None:
            metrics.DISTURBED_NODES.labels(trouble.kind.value).dec()
            self._end(machine, trouble)

    # Whom.

    def _of(self, resource_partition: str) -> list[Machine]:
        """The hollow nodes of that partition, of all if it is empty."""
        hollow = [machine for machine in self._machines if isinstance(machine.runtime, HollowRuntime)]
        if not resource_partition:
            return hollow
        found = [machine for machine in hollow if machine.resource_partition == resource_partition]
        if not found:
            raise bad_field("resource_partition", f"this host has no hollow nodes in {resource_partition!r}")
        return found

    def _share(self, share: float, candidates: Sequence[Machine], seed: int | None) -> list[Machine]:
        if not 0 < share <= 1:
            raise bad_field("share", f"must be more than 0 and at most 1 when no nodes are named, is {share}")
        standing = [machine for machine in candidates if machine.trouble is None]
        return self._sample(standing, share, len(candidates), self._rand if seed is None else Rand(seed))

    @staticmethod
    def _sample(standing: Sequence[Machine], share: float, total: int, rand: Rand) -> list[Machine]:
        count = min(len(standing), max(1, round(share * total)))
        pool = list(standing)
        for place in range(count):
            other = rand.integer(place, len(pool) - 1)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:count]

    def _named(self, names: Collection[str], candidates: Sequence[Machine]) -> list[Machine]:
        found = self._find(names, candidates)
        for machine in found:
            if machine.trouble is not None:
                message = f"node {machine.name!r} is disturbed already ({machine.trouble.kind.value})"
                raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, "FailedPrecondition", message)
        return found

    @staticmethod
    def _find(names: Collection[str], candidates: Sequence[Machine]) -> list[Machine]:
        by_name: dict[str, list[Machine]] = {}
        wanted = frozenset(names)
        for machine in candidates:
            if machine.name in wanted:
                by_name.setdefault(machine.name, []).append(machine)
        for name in names:
            homes = by_name.get(name, [])
            if not homes:
                raise bad_field("nodes", f"this host has no hollow node {name!r}")
            if len(homes) > 1:
                listed = ", ".join(machine.resource_partition for machine in homes)
                raise bad_field("resource_partition", f"must be given: there is a node {name!r} in {listed}")
        return [by_name[name][0] for name in dict.fromkeys(names)]
