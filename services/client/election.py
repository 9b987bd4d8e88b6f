"""Leader election through a Lease: of several processes that do the same work, one does it at a time.

A candidate takes a lease that is free, or whose record it has not seen change for as long as that record says
(``lease_s``); the holder renews it and gives up by itself when no renewal has succeeded for ``renew_deadline_s``. Times
are measured on each process' own monotonic clock, from when it *observed* a record: wall clocks need not agree, only
run at about the same rate (the holder stops before the others begin while rates differ by less than
``lease_s / renew_deadline_s``). A lease is no fence: a holder that was suspended goes on for a moment when it wakes, so
what it does must be safe when two do it.

Source: client-go ``tools/leaderelection/leaderelection.go``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from prometheus_client import Gauge

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor, first_of
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

SYSTEM_TENANT = "system"
NAMESPACE = "kube-system"
RELEASE_S_MAX = 2.0

_MASTER = Gauge("leader_election_master_status", "1 while this process holds the lease", ["name"])

Lead = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class ElectionConfig:
    """Times in seconds, client-go's defaults. ``lease_s``: how long the others leave a silent holder its lease;
    ``renew_deadline_s``: after so long without a renewal the holder stops; ``retry_s``: between two tries, stretched by
    up to ``jitter`` of it. Raises ``ValueError`` unless lease > renew deadline > retry."""

    enabled: bool = True
    lease_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not self.lease_s > self.renew_deadline_s > self.retry_s * (1 + self.jitter) > 0:
            raise ValueError("want lease_s > renew_deadline_s > retry_s with its jitter > 0")


class LeaseApi(Protocol):
    """The part of ``Clientset.leases`` that is needed. Every method may raise ``StatusError``."""

    async def get(self, name: str, *, tenant: str = "", namespace: str = "") -> Lease: ...

    async def create(self, obj: Lease) -> Lease: ...

    async def update(self, obj: Lease) -> Lease: ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record as this process knows it: ``version`` is its resource version, ``at`` when (monotonic seconds) this
    process first saw that version; ``holder`` empty: released."""

    version: int
    holder: str
    duration_s: float
    at: float

    def held_until(self) -> float:
        """When the lease is free unless it changes (monotonic seconds)."""
        return self.at + self.duration_s if self.holder else self.at


def sight(before: Sighting | None, lease: Lease, now: float) -> Sighting:
    """What is known after ``lease`` was read at ``now``: a record that has not changed keeps its age."""
    if before is not None and before.version == lease.metadata.resource_version:
        return before
    spec = lease.spec
    return Sighting(lease.metadata.resource_version, spec.holder_identity, float(spec.lease_duration_seconds), now)


def may_take(seen: Sighting, identity: str, now: float) -> bool:
    """It is ours, free, or silent for too long."""
    return seen.holder in ("", identity) or now >= seen.held_until()


def record(before: Lease, identity: str, lease_s: float, wall_s: float) -> Lease:
    """The lease as ``identity`` writes it at ``wall_s`` (Unix seconds) to take or keep it."""
    after = Lease()
    after.CopyFrom(before)
    spec = after.spec
    if spec.holder_identity != identity:
        _set_time(spec.acquire_time, wall_s)
        if before.metadata.resource_version:
            spec.lease_transitions += 1
    spec.holder_identity = identity
    # The record holds whole seconds: the others wait a little longer rather than shorter.
    spec.lease_duration_seconds = math.ceil(lease_s)
    _set_time(spec.renew_time, wall_s)
    return after


def released(before: Lease, wall_s: float) -> Lease:
    """The lease as its holder leaves it, free for the next."""
    after = Lease()
    after.CopyFrom(before)
    after.spec.holder_identity = ""
    after.spec.lease_duration_seconds = 1
    _set_time(after.spec.renew_time, wall_s)
    return after


def _set_time(field: Any, wall_s: float) -> None:
    # Microseconds, as Kubernetes' MicroTime.
    field.seconds = int(wall_s)
    field.nanos = int((wall_s - int(wall_s)) * 1e6) * 1000


class Election:
    """A candidate for the lease ``name``. ``identity`` is unique to this process (host name and something random).

    ``leading``: this process holds the lease now; ``leader``: the holder as last seen, empty if none or not known;
    ``in_touch``: the lease was read or written within the renew deadline.
    """

    def __init__(
        self,
        leases: LeaseApi,
        *,
        name: str,
        identity: str,
        clock: Clock,
        rand: Rand,
        config: ElectionConfig | None = None,
        tenant: str = SYSTEM_TENANT,
        namespace: str = NAMESPACE,
    ) -> None:
        self.name = name
        self.identity = identity
        self.leading = False
        self._leases = leases
        self._clock = clock
        self._rand = rand
        self._config = config or ElectionConfig()
        self._tenant = tenant
        self._namespace = namespace
        self._seen: Sighting | None = None
        # Our own record as last written, None when it must be read again.
        self._held: Lease | None = None
        self._renewed_at = 0.0
        self._touched_at: float | None = None

    @property
    def in_touch(self) -> bool:
        if self._touched_at is None:
            return False
        return self._clock.monotonic() - self._touched_at < self._config.renew_deadline_s

    @property
    def leader(self) -> str:
        return self._seen.holder if self._seen is not None else ""

    async def run(self, lead: Lead) -> None:
        """Stand until cancelled. While elected, ``lead()`` runs as a task; it is cancelled when the lease is lost, and
        this process stands again. When ``lead()`` returns, so does this. The lease is given back on the way out, after
        the work has ended."""
        while True:
            await self._acquire()
            self._announce(True)
            try:
                finished = await self._while_held(lead)
            finally:
                self._announce(False)
                await self._release()
            if finished:
                return
            _log.warning("leadership lost", extra={"lease": self.name, "leader": self.leader})

    async def _acquire(self) -> None:
        while not await self._attempt():
            pause = self._rand.jitter(self._config.retry_s, self._config.jitter)
            if self._seen is not None and self._seen.holder:
                # An expired lease need not wait for a whole period more.
                until_free = self._seen.held_until() - self._clock.monotonic()
                pause = min(pause, max(until_free, self._config.retry_s * 0.1))
            await self._clock.sleep(pause)

    async def _while_held(self, lead: Lead) -> bool:
        """True: the work is over; False: the lease is lost, and the work was stopped."""
        async with Supervisor() as tasks:
            work = tasks.start(lead(), name=f"leading-{self.name}")
            keeping = tasks.start(self._keep(), name=f"renewing-{self.name}")
            # A renewal may hang in an unanswered call: the deadline is watched beside it.
            expiring = tasks.start(self._expire(), name=f"deadline-{self.name}")
            await asyncio.wait((work, keeping, expiring), return_when=asyncio.FIRST_COMPLETED)
            return work.done()

    async def _keep(self) -> None:
        """Renew; returns when somebody else has the lease."""
        while True:
            await self._clock.sleep(self._rand.jitter(self._config.retry_s, self._config.jitter))
            if not await self._attempt() and self._seen is not None and self._seen.holder not in ("", self.identity):
                return

    async def _expire(self) -> None:
        """Returns when no renewal has succeeded for ``renew_deadline_s``."""
        while True:
            left = self._renewed_at + self._config.renew_deadline_s - self._clock.monotonic()
            if left <= 0:
                return
            await self._clock.sleep(left)

    async def _attempt(self) -> bool:
        """Take or renew the lease once. False: it is another's, or its partition does not answer."""
        # Our record as we wrote it needs no reading; whatever goes wrong with it is found out by reading.
        held, self._held = self._held, None
        # The age of our lease counts from before the request: the others count from after its commit.
        began = self._clock.monotonic()
        try:
            before = held or await self._read()
            if before.metadata.resource_version:
                self._seen = sight(self._seen, before, self._clock.monotonic())
                self._touched_at = began if held is None else self._touched_at
                if not may_take(self._seen, self.identity, self._clock.monotonic()):
                    return False
            after = record(before, self.identity, self._config.lease_s, self._clock.time())
            write = self._leases.update if before.metadata.resource_version else self._leases.create
            self._held = await write(after)
        except StatusError as failure:
            if held is not None and failure.code is grpc.StatusCode.ABORTED:
                return await self._attempt()
            # Conflict and AlreadyExists: somebody else was first. Everything else: read again and see.
            _log.debug("lease not written", extra={"lease": self.name, "cause": failure.message})
            return False
        self._seen = sight(None, self._held, began)
        self._renewed_at = self._touched_at = began
        return True

    async def _read(self) -> Lease:
        """The lease, or one without a resource version where there is none yet."""
        try:
            return await self._leases.get(self.name, tenant=self._tenant, namespace=self._namespace)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
        empty = Lease()
        empty.metadata.name, empty.metadata.tenant, empty.metadata.namespace = self.name, self._tenant, self._namespace
        return empty

    async def _release(self) -> None:
        """Give back what is still ours, so that the next need not wait for it to expire. Best effort."""
        self._held = None
        await first_of(self._give_back(), self._clock.sleep(RELEASE_S_MAX))

    async def _give_back(self) -> None:
        try:
            # Read: a renewal that was cut off on the way out may have been written.
            lease = await self._read()
            if lease.spec.holder_identity == self.identity:
                await self._leases.update(released(lease, self._clock.time()))
        except StatusError as failure:
            _log.debug("lease not released", extra={"lease": self.name, "cause": failure.message})

    def _announce(self, leading: bool) -> None:
        self.leading = leading
        _MASTER.labels(self.name).set(int(leading))
        if leading:
            _log.info("leading", extra={"lease": self.name, "identity": self.identity})
