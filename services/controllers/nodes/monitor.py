"""Which nodes are lost, and what has to be written about whom: what is seen goes in, writes come out. Pure.

The caller brings the time (monotonic seconds; ``wall`` Unix seconds). Nothing here waits, and nothing is decided on
time that was not proven to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Change
from services.controllers.nodes import changes
from services.controllers.nodes.changes import Execute
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import NOT_READY, UNREACHABLE, UNREADY, LeaseFact, NodeFact, Ready
from services.controllers.nodes.health import HealthTable
from services.controllers.nodes.proof import Proof
from services.controllers.nodes.ttl import TtlStep
from services.controllers.nodes.zones import Disruption, Zones


class Write(NamedTuple):
    """``node``: the message to send; ``evicts``: it adds the NoExecute taint."""

    fact: NodeFact
    node: Node
    evicts: bool = False


class NodeMonitor:
    """The nodes of one resource partition."""

    def __init__(self, config: NodesConfig) -> None:
        self.table = HealthTable(grace_s=config.grace_s, startup_grace_s=config.startup_grace_s)
        self.zones = Zones(config)
        self.proof = Proof(blind_after_s=config.blind_after_s)
        self._ttl = TtlStep()
        self._granted: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._lost: dict[str, None] = {}

    @property
    def idle(self) -> bool:
        """There is nothing to write."""
        return not self._dirty and not self._lost

    # What is seen

    def nodes_changed(self, seen: Sequence[Change[NodeFact]], now: float) -> None:
        for change in seen:
            old, new = change.old, change.new
            if new is None:
                assert old is not None
                self._forget(old)
                continue
            self.table.put(new, now)
            if old is not None and old.zone != new.zone:
                self.zones.spare(old.name, old.zone)
            if new.ready not in UNREADY:
                self._granted.discard(new.name)
                self.zones.spare(new.name, new.zone)
            self._dirty[new.name] = None
        self._ttl.resize(len(self.table))

    def leases_changed(self, seen: Sequence[Change[LeaseFact]], now: float) -> bool:
        """Renewals are signs of life; one's own pulse is a proof. True: this process sees again after blindness."""
        renewed: list[str] = []
        again = False
        for _, old, new, _ in seen:
            if new is None or (old is not None and new.renewed <= old.renewed):
                continue
            if new.of_node:
                renewed.append(new.key)
            else:
                again |= self.proof.seen(new.renewed, now)
        if renewed:
            self.table.alive(renewed, now)
        return again

    # What is decided

    def is_lost(self, name: str, now: float) -> bool:
        """The node has been silent for its whole grace period, all of which was seen."""
        proof = self.proof
        return (
            proof.current(now)
            and proof.proven_at is not None
            and self.table.is_silent(name, since=proof.since, until=proof.proven_at)
        )

    def look(self, now: float) -> Disruption:
        """Look at all nodes. While blind, nobody is found lost and no zone changes its state."""
        until = self.proof.proven_at
        if until is None or not self.proof.current(now):
            return Disruption.NONE
        since = self.proof.since
        disruption = self.zones.update(self.table.zones(since=since, until=until), now)
        if disruption is Disruption.ENDS:
            self.proof.since = now
        elif disruption is Disruption.BEGINS:
            self._granted.clear()
            self._dirty.update(dict.fromkeys(name for name, fact in self.table.facts.items() if fact.executing))
        self._lost = {fact.name: None for fact in self.table.lost(since=self.proof.since, until=until)}
        for fact in self.table.unready():
            if fact.name not in self._granted and self._may_be_given_up(fact, now):
                self.zones.want(fact.name, fact.zone)
        return disruption

    def grant(self, now: float) -> None:
        """Give up those nodes whose turn it is."""
        for name in self.zones.grant(now):
            fact = self.table.facts.get(name)
            if fact is not None and self._may_be_given_up(fact, now):
                self._granted.add(name)
                self._dirty[name] = None

    def _may_be_given_up(self, fact: NodeFact, now: float) -> bool:
        """It has no NoExecute taint of ours yet, and its condition, or its silence, asks for one."""
        if fact.executes(NOT_READY) or fact.executes(UNREACHABLE):
            return False
        if fact.ready is Ready.UNKNOWN:
            # Its lease may have been renewed since the condition was written; its status follows.
            return self.is_lost(fact.name, now)
        return fact.ready is Ready.FALSE

    # What is to be written

    def take_lost(self, limit: int, now: float, wall: float) -> list[Write]:
        """Status updates of lost nodes, made of what is known right now: send them at once."""
        writes = []
        for name in list(self._lost)[:limit]:
            del self._lost[name]
            fact = self.table.facts.get(name)
            if fact is not None and fact.ready is not Ready.UNKNOWN and self.is_lost(name, now):
                writes.append(Write(fact, changes.unknown(fact, wall)))
        return writes

    def take_revisions(self, limit: int, now: float, wall: float) -> list[Write]:
        """Updates of taints and annotations, likewise."""
        writes: list[Write] = []
        ttl = str(self._ttl.ttl_s)
        for name in list(self._dirty):
            if len(writes) >= limit:
                break
            del self._dirty[name]
            fact = self.table.facts.get(name)
            if fact is None:
                continue
            granted = name in self._granted and self._may_be_given_up(fact, now)
            if not granted:
                # Given up already, or nothing justifies it right now: then it waits for its turn again.
                self._granted.discard(name)
            execute = changes.wanted(fact, granted=granted, stopped=self.zones.stopped)
            if changes.needs(fact, execute, ttl):
                evicts = execute is not Execute.NONE and not fact.executes(execute.value)
                writes.append(Write(fact, changes.revised(fact, execute, ttl, wall), evicts))
        return writes

    def not_written(self, names: Sequence[str]) -> None:
        """Look at them again: their write was refused, or its answer is not known."""
        self._dirty.update((name, None) for name in names if name in self.table.facts)

    def _forget(self, fact: NodeFact) -> None:
        self.table.drop(fact.name)
        self.zones.spare(fact.name, fact.zone)
        self._granted.discard(fact.name)
        self._dirty.pop(fact.name, None)
        self._lost.pop(fact.name, None)
