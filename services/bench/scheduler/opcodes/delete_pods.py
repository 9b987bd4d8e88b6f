"""deletePods: the pods that a namespace has at that moment, all at once or so many a second.

A delete has no options, so that a bound pod gets its own grace period. There is no kubelet, here or upstream, to
confirm the end of a longer one: a pod whose grace is 0, or that is not bound, goes at once; any other stays marked,
and keeps its place on its node.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.bench.scheduler.access import TenantAccess
from services.bench.scheduler.errors import FileError, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params
from services.bench.ticker import ticks
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class DeletePods(Operation):
    """``per_second`` 0: as one deletion of a collection. ``skip_wait``: in the background."""

    opcode = "deletePods"
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    per_second: int = 0
    skip_wait: bool = False

    @classmethod
    def read(cls, fields: Fields) -> DeletePods:
        made = cls(
            fields.text("namespace"),
            fields.labels("labelSelector"),
            fields.integer("deletePodsPerSecond"),
            fields.flag("skipWaitToCompletion"),
        )
        if not made.namespace:
            raise FileError(f"{fields.where}: wants a namespace")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [self]

    async def run(self, world: World, index: int) -> None:
        found = await self._present(world)
        world.say(f"deleting {len(found)} pods of {self.namespace}")
        if self.skip_wait:
            world.background(self._delete(world, found), f"delete-pods-{index}")
        else:
            await self._delete(world, found)

    @property
    def _selector(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    async def _present(self, world: World) -> list[tuple[TenantAccess, str]]:
        return [
            (target, pod.metadata.name)
            for target in world.access.tenants
            for pod in (
                await target.clients.pods.list(
                    tenant=target.tenant, namespace=self.namespace, label_selector=self._selector
                )
            ).items
        ]

    async def _delete(self, world: World, found: list[tuple[TenantAccess, str]]) -> None:
        if not self.per_second:
            for target in world.access.tenants:
                await self._delete_collection(target)
            return
        work = iter(found)
        async for _ in ticks(world.clock, 1.0 / self.per_second):
            one = next(work, None)
            if one is None:
                return
            target, name = one
            try:
                await target.clients.pods.delete(name, tenant=target.tenant, namespace=self.namespace)
            except StatusError as failure:
                # Upstream reports it as a failed test but deletes on; here it is said beside the result.
                world.notes.append(f"deletePods: {self.namespace}/{name}: {failure}")

    async def _delete_collection(self, target: TenantAccess) -> None:
        try:
            await target.clients.pods.delete_collection(
                tenant=target.tenant, namespace=self.namespace, label_selector=self._selector
            )
        except StatusError as failure:
            raise WorkloadFailed(f"deletePods: {self.namespace}: {failure}") from failure
