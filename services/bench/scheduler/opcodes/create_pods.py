"""createPods: rapidly (all at once, then wait until they are bound) or steadily (each bound pod is replaced)."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.api.kinds import PODS
from services.bench.scheduler import templates
from services.bench.scheduler.errors import FileError, NotSupported, WorkloadFailed
from services.bench.scheduler.fields import Fields, seconds
from services.bench.scheduler.opcodes.operation import Operation, own_namespace
from services.bench.scheduler.params import Params
from services.bench.scheduler.pod_source import PodSource
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class CreatePods(Operation):
    """``namespace`` "": upstream's default, which is a new one. ``duration_s``: of the steady state."""

    opcode = "createPods"
    count: int | str
    namespace: str = ""
    template: pathlib.Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    collect_metrics: bool = False
    skip_wait: bool = False
    steady: bool | str = False
    duration_s: float | str = 0.0
    multiplier: str = ""
    volumes: bool = False

    @classmethod
    def read(cls, fields: Fields) -> CreatePods:
        volumes = [fields.text(f"persistentVolume{kind}TemplatePath") for kind in ("", "Claim")]
        made = cls(
            count=fields.counted("count"),
            namespace=fields.text("namespace"),
            template=fields.path("podTemplatePath"),
            values=fields.mapping("templateParams"),
            collect_metrics=fields.flag("collectMetrics"),
            skip_wait=fields.flag("skipWaitToCompletion"),
            steady=fields.flag("steadyState") or fields.parameter("steadyStateParam"),
            duration_s=fields.duration("duration"),
            multiplier=fields.parameter("countMultiplierParam"),
            volumes=any(volumes),
        )
        if made.skip_wait and (made.collect_metrics or made.steady):
            raise FileError(f"{fields.where}: skipWaitToCompletion with collectMetrics or steadyState")
        return made

    @property
    def measures(self) -> bool:
        return self.collect_metrics

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        count = params.integer(self.count) * (params.integer(self.multiplier) if self.multiplier else 1)
        duration_s = self.duration_s
        if isinstance(duration_s, str):
            duration_s = seconds(params.text(duration_s), duration_s)
        steady = params.flag(self.steady) if isinstance(self.steady, str) and self.steady else bool(self.steady)
        if steady and duration_s <= 0:
            raise FileError("createPods: a steady state wants a duration")
        return [
            replace(
                self,
                count=count,
                template=self.template or default_pod_template,
                values=params.resolved(self.values),
                steady=steady,
                duration_s=duration_s,
                multiplier="",
            )
        ]

    def check(self) -> None:
        if self.volumes:
            raise NotSupported("createPods with persistent volumes: Ursa has no PersistentVolumes")
        if self.template is not None:
            templates.load(self.template).check(PODS, {**self.values, "Index": 0, "Count": self.count})

    async def run(self, world: World, index: int) -> None:
        assert isinstance(self.count, int)
        namespace = own_namespace(self.namespace, index)
        await world.ensure_namespace(namespace)
        template = templates.load(self.template) if self.template is not None else None
        source = await world.pod_source(template, namespace, self.count, self.values)
        if self.collect_metrics:
            await world.start_collecting(namespace, (namespace,), {})
        if self.steady:
            await self._steadily(world, namespace, source)
            if self.collect_metrics:
                await world.stop_collecting()
            return
        world.say(f"creating {self.count} pods in {namespace}")
        keys = await world.create_pods(namespace, source, self.count)
        if self.skip_wait:
            world.expected[namespace] += self.count
            return
        waiting_since = world.clock.monotonic()
        await world.until_scheduled(namespace, self.count, keys if self.collect_metrics else ())
        if self.collect_metrics:
            await world.stop_collecting(keys=keys, waiting_since=waiting_since)

    async def _steadily(self, world: World, namespace: str, source: PodSource) -> None:
        """Every pod that is seen bound is deleted, with no grace, and another one created, one after the other."""
        assert isinstance(self.count, int) and isinstance(self.duration_s, float)
        log, tenants = world.log, {target.tenant: target for target in world.access.tenants}
        world.say(f"keeping {self.count} pods coming in {namespace} for {self.duration_s:g} s")
        position, replaced = len(log.changes), 0
        end = world.clock.monotonic() + min(self.duration_s, world.left_s())
        await world.create_pods(namespace, source, self.count)
        while (left := end - world.clock.monotonic()) > 0:
            if position == len(log.changes):
                await log.until(lambda at=position: len(log.changes) > at, left)  # type: ignore[misc]
                if log.broken:
                    raise WorkloadFailed(log.broken)
                continue
            change = log.changes[position]
            position += 1
            tenant, where, name = change.key
            if where != namespace or change.step < 0:
                continue
            replaced += 1
            try:
                await tenants[tenant].clients.pods.delete(
                    name, tenant=tenant, namespace=namespace, grace_period_seconds=0
                )
            except StatusError as failure:
                raise WorkloadFailed(f"deleting {namespace}/{name}: {failure}") from failure
            await world.create_pods(namespace, source, 1)
        if not replaced:
            raise WorkloadFailed(f"no pod of {namespace} was bound within {self.duration_s:g} s")
