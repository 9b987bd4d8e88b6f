"""sleep: nothing for a while."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.bench.scheduler.fields import Fields, seconds
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class Sleep(Operation):
    """``duration_s``, or the parameter that names a duration."""

    opcode = "sleep"
    duration_s: float | str = 0.0

    @classmethod
    def read(cls, fields: Fields) -> Sleep:
        return cls(fields.duration("duration"))

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        if isinstance(self.duration_s, str):
            return [replace(self, duration_s=seconds(params.text(self.duration_s), self.duration_s))]
        return [self]

    async def run(self, world: World, index: int) -> None:
        assert isinstance(self.duration_s, float)
        await world.clock.sleep(min(self.duration_s, world.left_s()))
