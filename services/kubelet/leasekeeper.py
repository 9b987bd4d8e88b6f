"""Keeps the leases of many nodes of one resource partition: first made, then renewed, on one stream for all of them.

A host renews its nodes in cohorts, spread over the period, so that the partition gets an even flow. Source: client-go
``component-helpers/apimachinery/lease/controller.go`` (KEP-0009): five tries at once, then with backoff; here a cohort
gives up when its next renewal is due, so that a few leases that cannot be renewed hold up no others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from services.api.pb.ursa.coordination.v1.lease_service_pb2 import LeaseRenewal
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.partitions import Connection
from services.client.renewals import LeaseRenewals
from services.kubelet import metrics, nodelease
from services.kubelet.config import TimingConfig
from services.kubelet.contact import Contact
from services.kubelet.leaseowners import LeaseOwners
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

BATCH_LEASES = 1000
# Longer than a server tries to reach its etcd: its own answer says more than a deadline does.
TIMEOUT_S = 7.0
TRIES_AT_ONCE = 5
BACKOFF_INITIAL_S, BACKOFF_MAX_S = 0.2, 7.0
FIRST_BACKOFF_MAX_S = 1.0
COHORTS_MAX, COHORT_NODES_MIN = 100, 50


class Leased(Protocol):
    """A node as far as its lease goes. ``silent``: nothing is sent for it; ``has_lease``: its lease has been made."""

    name: str
    contact: Contact
    silent: bool
    has_lease: bool


class SeenNodes(Protocol):
    """Nodes by name, as a watch last showed them."""

    def __contains__(self, name: object, /) -> bool: ...

    def get(self, name: str, /) -> Node | None: ...


class LeaseKeeper:
    """``run`` keeps the leases of ``entries``; ``begin`` names those that have none yet.

    ``nodes``: as last seen; a node that is not there has no lease. ``on_contact``: the leases of these nodes have been
    stored, and pods of theirs wait for that.
    """

    def __init__(
        self,
        connection: Connection,
        entries: Sequence[Leased],
        nodes: SeenNodes,
        *,
        timing: TimingConfig,
        clock: Clock,
        rand: Rand,
        on_contact: Callable[[Sequence[str]], None],
    ) -> None:
        self._partition = connection.name
        self._leases = connection.clientset.leases
        self._renewals = LeaseRenewals(connection.channel, clock, rand, partition=connection.name)
        self._owners = LeaseOwners(connection, nodes.get, clock, rand)
        self._entries = {entry.name: entry for entry in entries}
        self._nodes = nodes
        self._on_contact = on_contact
        self._timing = timing
        self._clock = clock
        self._rand = rand
        self._leaseless: dict[str, None] = {}
        self._wake = asyncio.Event()
        # Nodes whose lease another holds, as was told.
        self._contested: set[str] = set()
        # Nodes that were registered while this process ran: a lease that they find is of a node before them.
        self._fresh: set[str] = set()

    def begin(self, names: Iterable[str], *, fresh: bool = False) -> None:
        """Make or renew the leases of these nodes at once. ``fresh``: they have just been registered."""
        names = [*names]
        if fresh:
            self._fresh.update(names)
        self._leaseless.update(dict.fromkeys(names))
        if self._leaseless:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        cohorts = self._cohorts()
        period_s = self._timing.lease_renew_s
        begin_s = self._clock.monotonic() + self._rand.uniform(0.0, period_s / len(cohorts))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renewals.run(), name=f"renewals-{self._partition}")
            group.create_task(self._begin_leases(), name=f"first-leases-{self._partition}")
            group.create_task(self._owners.run(), name=f"lease-owners-{self._partition}")
            for number, cohort in enumerate(cohorts):
                due_s = begin_s + period_s * number / len(cohorts)
                group.create_task(self._keep(cohort, due_s), name=f"leases-{self._partition}-{number}")

    def _cohorts(self) -> list[list[Leased]]:
        entries = list(self._entries.values())
        count = max(1, min(COHORTS_MAX, len(entries) // COHORT_NODES_MIN))
        return [entries[number::count] for number in range(count)]

    async def _begin_leases(self) -> None:
        """A node that has just been registered gets its lease at once."""
        backoff = Backoff(self._rand, initial_s=BACKOFF_INITIAL_S, maximum_s=FIRST_BACKOFF_MAX_S)
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._leaseless = self._leaseless, {}
            again = await self._attempt([self._entries[name] for name in names])
            if again:
                await self._clock.sleep(backoff.next())
                self.begin(entry.name for entry in again)
            else:
                backoff.reset()

    async def _keep(self, cohort: Sequence[Leased], due_s: float) -> None:
        while True:
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
            # By the schedule, not by when the last renewal was answered; one that took too long is not made up for.
            due_s = max(due_s, self._clock.monotonic() - self._timing.lease_renew_s)
            due_s += self._rand.jitter(self._timing.lease_renew_s, self._timing.lease_jitter)
            await self._renew_until([entry for entry in cohort if entry.has_lease], due_s)

    async def _renew_until(self, entries: Sequence[Leased], due_s: float) -> None:
        backoff = Backoff(self._rand, initial_s=BACKOFF_INITIAL_S, maximum_s=BACKOFF_MAX_S)
        tries = 0
        while entries:
            entries = await self._attempt(entries)
            tries += 1
            pause_s = backoff.next() if tries >= TRIES_AT_ONCE else 0.0
            if self._clock.monotonic() + pause_s >= due_s:
                break
            if entries and pause_s:
                await self._clock.sleep(pause_s)
        self.begin(entry.name for entry in entries if not entry.has_lease)

    async def _attempt(self, entries: Sequence[Leased]) -> list[Leased]:
        """Renew or make the lease of each; returns those that must be tried again soon."""
        again: list[Leased] = []
        held = [entry for entry in entries if entry.has_lease]
        bare = [entry for entry in entries if not entry.has_lease]
        for batch in _slices(held):
            again += await self._renew(batch)
        for batch in _slices(bare):
            again += await self._create(batch)
        return again

    async def _renew(self, entries: Sequence[Leased]) -> Sequence[Leased]:
        known = [entry for entry in entries if not entry.silent and entry.name in self._nodes]
        if not known:
            return ()
        renewals = [LeaseRenewal(name=entry.name, holder_identity=entry.name) for entry in known]
        sent_s = self._clock.monotonic()
        try:
            refusals = await self._renewals.renew(
                renewals,
                tenant=nodelease.SYSTEM_TENANT,
                namespace=nodelease.NAMESPACE,
                now_s=self._clock.time(),
                timeout_s=TIMEOUT_S,
            )
        except StatusError as error:
            self._failed(error, len(known))
            return known
        metrics.LEASE_RENEWALS.labels(self._partition, "ok").inc(len(known) - len(refusals))
        stored = [entry for index, entry in enumerate(known) if index not in refusals] if refusals else known
        self._stored(stored, sent_s)
        if self._contested:
            self._contested.difference_update(entry.name for entry in stored)
        again = [known[index] for index, error in refusals.items() if self._refused(known[index], error)]
        self._tell(refusals.values())
        return again

    def _stored(self, entries: Iterable[Leased], sent_s: float) -> None:
        # The time of sending: a lease is no younger, however late its answer was read.
        waited_for = [entry.name for entry in entries if entry.contact.renewed(sent_s)]
        if waited_for:
            self._on_contact(waited_for)

    def _refused(self, entry: Leased, error: StatusError) -> bool:
        """Should the renewal be tried again soon?"""
        if error.reason == "NotFound":
            entry.has_lease = False
            return True
        if error.reason == "Conflict":
            if entry.name not in self._contested:
                self._contested.add(entry.name)
                _log.error(
                    "another holds the lease of a node",
                    extra={"partition": self._partition, "node": entry.name, "cause": error.message},
                )
            return False  # With the next renewal of its cohort.
        return True

    async def _create(self, entries: Sequence[Leased]) -> Sequence[Leased]:
        now_s, sent_s, duration_s = self._clock.time(), self._clock.monotonic(), self._timing.lease_duration_s
        known = [
            (entry, node) for entry in entries if not entry.silent and (node := self._nodes.get(entry.name)) is not None
        ]
        if not known:
            return ()
        messages = [
            nodelease.lease(entry.name, node.metadata.uid, now_s=now_s, duration_s=duration_s) for entry, node in known
        ]
        try:
            outcomes = await self._leases.batch_create(messages, timeout_s=TIMEOUT_S)
        except StatusError as error:
            self._failed(error, len(known))
            return [entry for entry, _ in known]
        again: list[Leased] = []
        stored: list[Leased] = []
        refusals: list[StatusError] = []
        for (entry, node), outcome in zip(known, outcomes, strict=True):
            refusal = outcome.status
            entry.has_lease = refusal is None or refusal.reason == "AlreadyExists"
            if refusal is None:
                stored.append(entry)
            else:
                refusals.append(refusal)
                again.append(entry)  # An existing lease is renewed next.
            if entry.has_lease:
                self._check_owner(entry.name, node, existed=refusal is not None)
        metrics.LEASE_RENEWALS.labels(self._partition, "ok").inc(len(stored))
        self._stored(stored, sent_s)
        self._tell(refusals)
        return again

    def _check_owner(self, name: str, node: Node, *, existed: bool) -> None:
        """A lease was made for ``node``, or was there already."""
        fresh = name in self._fresh
        self._fresh.discard(name)
        present = self._nodes.get(name)
        replaced = present is not None and present.metadata.uid != node.metadata.uid
        if replaced or (fresh and existed):
            self._owners.suspect((name,))

    def _tell(self, refusals: Iterable[StatusError]) -> None:
        """Count refusals, and say once for all of a kind what is not told or mended otherwise."""
        by_reason: dict[str, list[StatusError]] = {}
        for error in refusals:
            by_reason.setdefault(error.reason, []).append(error)
        for reason, errors in by_reason.items():
            if reason in ("NotFound", "AlreadyExists", "Conflict"):
                metrics.LEASE_RENEWALS.labels(self._partition, reason).inc(len(errors))
            else:
                self._failed(errors[0], len(errors))

    def _failed(self, error: StatusError, leases: int) -> None:
        metrics.LEASE_RENEWALS.labels(self._partition, error.reason).inc(leases)
        _log.warning(
            "lease renewal failed", extra={"partition": self._partition, "leases": leases, "cause": error.message}
        )


def _slices(entries: Sequence[Leased]) -> Iterator[Sequence[Leased]]:
    for start in range(0, len(entries), BATCH_LEASES):
        yield entries[start : start + BATCH_LEASES]
