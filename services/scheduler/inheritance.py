"""Claims that another leader left for pods that are not bound: they are taken up rather than made a second time.

Within one resource partition the claim itself says where it is (HeldElsewhere). A plan that chose another partition
would make a second claim, and leave the first to the reconciler's review; so a new leader looks before it plans.
Looking is an optimisation: what is not seen in time is found by the reconciler.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable
from typing import Protocol

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim
from services.base.clock import Clock
from services.base.tasks import first_of
from services.client.clientset import Listing
from services.rpc.status import StatusError
from services.scheduler.core import NodeId

_log = logging.getLogger(__name__)

PATIENCE_S = 3.0
PAGE = 5_000


class ListApi(Protocol):
    """As much of ``services.client.clientset.Clientset.capacity_claims`` as looking needs."""

    async def list(
        self, *, field_selector: str = "", limit: int = 0, continue_token: str = ""
    ) -> Listing[CapacityClaim]: ...


class Inheritance:
    """``find`` is one look at all resource partitions."""

    def __init__(self, tenant_partition: str, *, clock: Clock) -> None:
        self._selector = f"spec.tenantPartition={tenant_partition}"
        self._clock = clock

    async def find(self, partitions: Iterable[tuple[str, ListApi]], wanted: Container[str]) -> dict[str, NodeId]:
        """Where the pods of these UIDs have claims. Takes ``PATIENCE_S`` at most, and never raises."""
        found: dict[str, NodeId] = {}
        await first_of(self._clock.sleep(PATIENCE_S), self._look(partitions, wanted, found))
        return found

    async def _look(
        self, partitions: Iterable[tuple[str, ListApi]], wanted: Container[str], found: dict[str, NodeId]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for name, claims in partitions:
                group.create_task(self._look_at(name, claims, wanted, found))

    async def _look_at(self, name: str, claims: ListApi, wanted: Container[str], found: dict[str, NodeId]) -> None:
        token = ""
        while True:
            try:
                page = await claims.list(field_selector=self._selector, limit=PAGE, continue_token=token)
            except StatusError as failure:
                _log.info("claims not looked at", extra={"resource_partition": name, "cause": failure.message})
                return
            for claim in page.items:
                if claim.metadata.name in wanted:
                    found[claim.metadata.name] = NodeId(name, claim.spec.node_name)
            token = page.continue_token
            if not token:
                return
