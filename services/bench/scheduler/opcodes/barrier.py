"""barrier: until the pods whose createPods did not wait are bound, or at least were attempted."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.bench.scheduler.errors import FileError, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World

SCHEDULED, ATTEMPTED = "Scheduled", "Attempted"
POLL_S = 1.0


@dataclass(frozen=True)
class Barrier(Operation):
    """No ``namespaces``: all that are known. A pod counts as attempted when it is bound or its PodScheduled condition
    is False, which it also is for a gated pod."""

    opcode = "barrier"
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stage: str = SCHEDULED

    @classmethod
    def read(cls, fields: Fields) -> Barrier:
        made = cls(
            fields.texts("namespaces"),
            fields.labels("labelSelector"),
            fields.text("stageRequirement", SCHEDULED) or SCHEDULED,
        )
        if made.stage not in (SCHEDULED, ATTEMPTED):
            raise FileError(f"{fields.where}: stageRequirement {made.stage!r}")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [self]

    async def run(self, world: World, index: int) -> None:
        for namespace in self.namespaces:
            if namespace not in world.expected:
                raise WorkloadFailed(f"barrier: unknown namespace {namespace}")
        for namespace in self.namespaces or tuple(world.expected):
            wanted = world.expected[namespace]
            world.say(f"waiting until {wanted} pods of {namespace} are {self.stage.lower()}")
            if self.stage == ATTEMPTED or self.labels:
                await self._poll(world, namespace, wanted)
            else:
                await world.until_scheduled(namespace, wanted)
        if self.stage == SCHEDULED:
            # What was waited for is forgotten (upstream), but the namespace stays known: it exists.
            for namespace in self.namespaces or tuple(world.expected):
                world.expected[namespace] = 0

    async def _poll(self, world: World, namespace: str, wanted: int) -> None:
        """Conditions are asked for once a second, as upstream looks, instead of being read off every event."""
        if not wanted:
            return
        while True:
            bound = self._bound(world, namespace)
            found = await world.pending(namespace, self.labels)
            if bound + (found.attempted if self.stage == ATTEMPTED else 0) >= wanted:
                return
            if world.left_s() <= 0 or world.log.broken:
                raise WorkloadFailed(f"barrier: {bound} of {wanted} pods of {namespace} were bound; {found}")
            await world.clock.sleep(POLL_S)

    def _bound(self, world: World, namespace: str) -> int:
        if not self.labels:
            return world.log.scheduled[namespace]
        created = world.log.created
        return sum(
            key[1] == namespace and key in created and self.labels.items() <= created[key].shape.labels.items()
            for key in world.log.nodes
        )
