"""updateAny: objects replaced by what a template says, and their status with it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.bench.scheduler import templates
from services.bench.scheduler.errors import FileError, NotSupported, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.create_any import check
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params
from services.bench.ticker import ticks
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class UpdateAny(Operation):
    """``per_second`` 0: one after the other, as fast as they go. ``subresources``: only these are updated."""

    opcode = "updateAny"
    template: pathlib.Path
    namespace: str = ""
    count: int | str = 1
    per_second: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    subresources: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> UpdateAny:
        template = fields.path("templatePath")
        if template is None:
            raise FileError(f"{fields.where}: wants a templatePath")
        return cls(
            template,
            fields.text("namespace"),
            fields.counted("count", 1),
            fields.integer("updatePerSecond"),
            fields.mapping("templateParams"),
            fields.texts("subresources"),
        )

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [replace(self, count=params.integer(self.count), values=params.resolved(self.values))]

    def check(self) -> None:
        other = set(self.subresources) - {"status"}
        if other:
            raise NotSupported(f"updateAny: Ursa has no subresource {sorted(other)[0]}")
        check(self.template, self.namespace, {**self.values, "Index": 0, "Count": self.count})

    async def run(self, world: World, index: int) -> None:
        assert isinstance(self.count, int)
        if self.namespace:
            await world.ensure_namespace(self.namespace)
        if not self.per_second:
            for number in range(self.count):
                await self._update(world, number)
            return
        numbers = iter(range(self.count))
        async for _ in ticks(world.clock, 1.0 / self.per_second):
            following = next(numbers, None)
            if following is None:
                return
            await self._update(world, following)

    async def _update(self, world: World, number: int) -> None:
        manifest = templates.load(self.template).manifest({**self.values, "Index": number, "Count": self.count})
        try:
            await world.update_object(
                manifest.kind, manifest.object, self.namespace, number, status_only=bool(self.subresources)
            )
        except StatusError as failure:
            raise WorkloadFailed(f"updateAny: {self.template.name}: {failure}") from failure
