"""Wires the reconciliation of one resource partition's claims: its claims, its tenant partitions, a loop for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from services.api import kinds
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Change, Informer
from services.client.partitions import Connect, Connection, PartitionDirectory
from services.controllers.claims import metrics
from services.controllers.claims.book import ClaimBook
from services.controllers.claims.facts import CLAIM_ACCESSORS, POD_ACCESSORS, Claim, SeenPod, read_claim, read_pod
from services.controllers.claims.review import TenantReview
from services.controllers.config import ClaimsConfig
from services.rpc.credentials import TlsConfig

_log = logging.getLogger(__name__)

GAUGES_EVERY_S = 1.0


class TenantClaims:
    """One tenant partition's claims, bound pods and loop. Its claims are kept while it is not connected."""

    def __init__(
        self,
        partition: str,
        resource_partition: str,
        claims: Connection,
        config: ClaimsConfig,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self.partition = partition
        self.book = ClaimBook(
            review_after_s=config.claim_review_after_s,
            retry_after_s=config.retry_after_s,
        )
        self._resource_partition = resource_partition
        self._claims = claims
        self._config = config
        self._clock = clock
        self._rand = rand
        self._claims_known = False
        self._pods: Informer[SeenPod] | None = None
        self._review: TenantReview | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._pods is not None and self._pods.connected

    def connect(self, connection: Connection, tasks: Supervisor) -> None:
        """Follow the partition over ``connection``: the first one, or one to other endpoints."""
        if self._pods is not None and self._review is not None:
            self._review.pods = connection.clientset.pods
            self._pods.rebind(connection.mux)
            return
        self._review = TenantReview(
            self.partition,
            self._resource_partition,
            self.book,
            connection.clientset.pods,
            self._claims.clientset.capacity_claims,
            config=self._config,
            clock=self._clock,
            rand=self._rand,
        )
        self._pods = Informer(
            connection.mux,
            kinds.PODS,
            tenant="*",
            field_selector=f"spec.resourcePartition={self._resource_partition}",
            decode=read_pod,
            accessors=POD_ACCESSORS,
            on_batch=self._pods_changed,
            on_state=lambda _: self._pods_state(),
        )
        self._pods.start()
        self._task = tasks.start(self._review.run(), name=f"claims-{self.partition}")

    def disconnect(self) -> None:
        """The partition's object is gone: nobody can be asked, so its claims stay as they are."""
        if self._pods is not None:
            self._pods.close()
            self._pods = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._review = None
        self.book.close()

    def claims_known(self) -> None:
        """The resource partition's claims are all in the book."""
        self._claims_known = True
        self._open_if_known()

    def claim_changed(self, change: Change[Claim], now: float) -> None:
        if change.new is not None:
            self.book.claimed(change.new, now)
        else:
            self.book.ended(change.key)

    def wake(self) -> None:
        if self._review is not None:
            self._review.wake()

    def measure(self) -> None:
        """Set the gauges."""
        metrics.CLAIMS.labels(self.partition).set(len(self.book.claims))
        metrics.UNBOUND.labels(self.partition).set(self.book.unbound)
        metrics.DUE.labels(self.partition).set(self.book.due)
        metrics.CONNECTED.labels(self.partition).set(int(self.connected))

    def _pods_changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        now = self._clock.monotonic()
        for change in changes:
            self.book.pod_changed(change.key, now, gone=change.new is None)
        self.wake()

    def _pods_state(self) -> None:
        assert self._pods is not None
        if self._pods.connected:
            _log.info("tenant partition is followed", extra={"tenant_partition": self.partition})
            self._open_if_known()
            self.wake()
        else:
            _log.warning("tenant partition is out of reach", extra={"tenant_partition": self.partition})

    def _open_if_known(self) -> None:
        """Both lists are needed to say that a claim has no pod. Once open, what is missed shows as differences."""
        if self._claims_known and self._pods is not None and self._pods.has_synced and not self.book.is_open:
            self.book.open(self._pods.store, self._clock.monotonic(), self._clock.time())
            self.wake()


class ClaimsController:
    """The controller of the resource partition behind ``resource``, which is run by its owner. ``connect`` makes the
    connections to tenant partitions."""

    def __init__(
        self,
        resource: Connection,
        config: ClaimsConfig,
        *,
        clock: Clock,
        rand: Rand,
        tls: TlsConfig | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._resource = resource
        self._config = config
        self._clock = clock
        self._rand = rand
        self._tenants: dict[str, TenantClaims] = {}
        self._tasks: Supervisor | None = None
        self.claims: Informer[Claim] = Informer(
            resource.mux,
            kinds.CAPACITY_CLAIMS,
            decode=read_claim,
            accessors=CLAIM_ACCESSORS,
            on_batch=self._claims_changed,
            on_state=lambda _: self._claims_state(),
        )
        self._directory = PartitionDirectory(
            kinds.TENANT_PARTITIONS,
            bootstrap={},
            clock=clock,
            rand=rand,
            on_added=self._added,
            on_removed=self._removed,
            tls=tls,
            connect=connect,
        )

    @property
    def tenants(self) -> dict[str, TenantClaims]:
        """By tenant partition: those that are known, and those that only claims speak of."""
        return self._tenants

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        try:
            async with Supervisor() as tasks:
                self._tasks = tasks
                tasks.start(self._directory.run(), name="tenant-partitions")
                self._directory.follow(self._resource.mux)
                self.claims.start()
                while True:
                    for tenant in self._tenants.values():
                        tenant.measure()
                    await self._clock.sleep(GAUGES_EVERY_S)
        finally:
            self._tasks = None
            self.claims.close()
            for name, tenant in self._tenants.items():
                tenant.disconnect()
                metrics.forget(name)

    def _tenant(self, name: str) -> TenantClaims:
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = TenantClaims(
                name, self._resource.name, self._resource, self._config, self._clock, self._rand
            )
            if self.claims.has_synced:
                tenant.claims_known()
        return tenant

    def _added(self, name: str, connection: Connection) -> None:
        assert self._tasks is not None
        self._tenant(name).connect(connection, self._tasks)

    def _removed(self, name: str) -> None:
        tenant = self._tenants[name]
        if tenant.book.claims:
            _log.warning(
                "a tenant partition was removed; its claims stay",
                extra={"tenant_partition": name, "claims": len(tenant.book.claims)},
            )
        tenant.disconnect()
        if not tenant.book.claims:
            del self._tenants[name]
            metrics.forget(name)

    def _claims_changed(self, changes: Sequence[Change[Claim]]) -> None:
        now = self._clock.monotonic()
        touched: set[str] = set()
        for change in changes:
            claim = change.new or change.old
            assert claim is not None
            self._tenant(claim.partition).claim_changed(change, now)
            touched.add(claim.partition)
        for name in touched:
            self._tenants[name].wake()

    def _claims_state(self) -> None:
        if self.claims.has_synced:
            for tenant in self._tenants.values():
                tenant.claims_known()
