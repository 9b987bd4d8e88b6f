"""createPodSets: a createPods in each of ``<prefix>-0`` …; it is written out before the workload runs."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.bench.scheduler.errors import FileError
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.create_pods import CreatePods
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class CreatePodSets(Operation):
    """``pods`` is what each namespace gets."""

    opcode = "createPodSets"
    count: int | str
    prefix: str
    pods: CreatePods

    @classmethod
    def read(cls, fields: Fields) -> CreatePodSets:
        nested = fields.nested("createPodsOp")
        if nested is None:
            raise FileError(f"{fields.where}: wants a createPodsOp")
        if nested.text("opcode") not in ("", CreatePods.opcode):
            raise FileError(f"{nested.where}: want createPods")
        pods = CreatePods.read(nested)
        nested.done()
        return cls(fields.counted("count"), fields.text("namespacePrefix"), pods)

    @property
    def measures(self) -> bool:
        return self.pods.measures

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [
            operation
            for number in range(params.integer(self.count))
            for operation in replace(self.pods, namespace=f"{self.prefix}-{number}").resolved(
                params, default_pod_template
            )
        ]

    async def run(self, world: World, index: int) -> None:
        raise AssertionError("it is replaced by its createPods when it is resolved")
