"""startCollectingMetrics and stopCollectingMetrics: a measuring window over several operations."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.bench.scheduler.errors import FileError
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class StartCollectingMetrics(Operation):
    """``labels``: only pods that were created with them."""

    opcode = "startCollectingMetrics"
    name: str
    namespaces: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> StartCollectingMetrics:
        made = cls(fields.text("name"), fields.texts("namespaces"), fields.labels("labelSelector"))
        if not made.namespaces:
            raise FileError(f"{fields.where}: wants namespaces")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [self]

    async def run(self, world: World, index: int) -> None:
        await world.start_collecting(self.name, self.namespaces, self.labels)


@dataclass(frozen=True)
class StopCollectingMetrics(Operation):
    """Closes the window that is open."""

    opcode = "stopCollectingMetrics"

    @classmethod
    def read(cls, fields: Fields) -> StopCollectingMetrics:
        return cls()

    @property
    def measures(self) -> bool:
        return True

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [self]

    async def run(self, world: World, index: int) -> None:
        await world.stop_collecting()
