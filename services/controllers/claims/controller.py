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
from services.client.partitions import Connection
from services.controllers.claims import metrics
from services.controllers.claims.book import ClaimBook
from services.controllers.claims.facts import CLAIM_ACCESSORS, Claim, read_claim
from services.controllers.claims.review import TenantReview
from services.controllers.config import ClaimsConfig
from services.controllers.pods import SeenPod
from services.controllers.tenants import TenantPods, Tenants

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
        self._pods: TenantPods | None = None
        self._review: TenantReview | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._pods is not None and self._pods.connected

    def follow(self, pods: TenantPods, tasks: Supervisor) -> None:
        """The partition is there: ask it about claims."""
        self._pods = pods
        self._review = TenantReview(
            self.partition,
            self._resource_partition,
            self.book,
            pods.connection.clientset.pods,
            self._claims.clientset.capacity_claims,
            config=self._config,
            clock=self._clock,
            rand=self._rand,
        )
        self._task = tasks.start(self._review.run(), name=f"claims-{self.partition}")

    def rebind(self, pods: TenantPods) -> None:
        """Its endpoints are others now."""
        if self._review is not None:
            self._review.rebind(pods.connection.clientset.pods)

    def disconnect(self) -> None:
        """The partition's object is gone: nobody can be asked, so its claims stay as they are."""
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

    def pods_changed(self, changes: Sequence[Change[SeenPod]]) -> None:
        now = self._clock.monotonic()
        for change in changes:
            self.book.pod_changed(change.key, now, gone=change.new is None)
        self.wake()

    def pods_state(self) -> None:
        if self.connected:
            self._open_if_known()
            self.wake()

    def _open_if_known(self) -> None:
        """Both lists are needed to say that a claim has no pod. Once open, what is missed shows as differences."""
        if self._claims_known and self._pods is not None and self._pods.has_synced and not self.book.is_open:
            self.book.open(self._pods.pods, self._clock.monotonic(), self._clock.time())
            self.wake()


class ClaimsController:
    """The controller of the claims of the resource partition behind ``resource``. Both are run by their owner."""

    def __init__(
        self, resource: Connection, tenants: Tenants, config: ClaimsConfig, *, clock: Clock, rand: Rand
    ) -> None:
        self._resource = resource
        self._config = config
        self._clock = clock
        self._rand = rand
        self._tenants: dict[str, TenantClaims] = {}
        self.claims: Informer[Claim] = Informer(
            resource.mux,
            kinds.CAPACITY_CLAIMS,
            decode=read_claim,
            accessors=CLAIM_ACCESSORS,
            on_batch=self._claims_changed,
            on_state=lambda _: self._claims_state(),
        )
        tenants.follow(self)

    @property
    def tenants(self) -> dict[str, TenantClaims]:
        """By tenant partition: those that are known, and those that only claims speak of."""
        return self._tenants

    async def run(self) -> None:
        """Until cancelled; leaves nothing behind."""
        try:
            self.claims.start()
            while True:
                for tenant in self._tenants.values():
                    tenant.measure()
                await self._clock.sleep(GAUGES_EVERY_S)
        finally:
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

    def tenant_added(self, tenant: TenantPods, tasks: Supervisor) -> None:
        self._tenant(tenant.partition).follow(tenant, tasks)

    def tenant_rebound(self, tenant: TenantPods) -> None:
        self._tenants[tenant.partition].rebind(tenant)

    def tenant_removed(self, tenant: TenantPods) -> None:
        name = tenant.partition
        known = self._tenants[name]
        if known.book.claims:
            _log.warning(
                "a tenant partition was removed; its claims stay",
                extra={"tenant_partition": name, "claims": len(known.book.claims)},
            )
        known.disconnect()
        if not known.book.claims:
            del self._tenants[name]
            metrics.forget(name)

    def tenant_state(self, tenant: TenantPods) -> None:
        self._tenants[tenant.partition].pods_state()

    def pods_changed(self, tenant: TenantPods, changes: Sequence[Change[SeenPod]]) -> None:
        self._tenants[tenant.partition].pods_changed(changes)

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
