"""createNamespaces: ``<prefix>-0`` … in every tenant."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.api.kinds import NAMESPACES
from services.bench.scheduler import templates
from services.bench.scheduler.errors import FileError
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


@dataclass(frozen=True)
class CreateNamespaces(Operation):
    """A namespace that is there already is left as it is."""

    opcode = "createNamespaces"
    prefix: str
    count: int | str
    template: pathlib.Path | None = None

    @classmethod
    def read(cls, fields: Fields) -> CreateNamespaces:
        made = cls(fields.text("prefix"), fields.counted("count"), fields.path("namespaceTemplatePath"))
        if not made.prefix:
            raise FileError(f"{fields.where}: wants a prefix")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [replace(self, count=params.integer(self.count))]

    def check(self) -> None:
        if self.template is not None:
            templates.load(self.template).check(NAMESPACES, {})

    async def run(self, world: World, index: int) -> None:
        assert isinstance(self.count, int)
        template = templates.load(self.template).message(NAMESPACES, {}) if self.template is not None else None
        for number in range(self.count):
            await world.ensure_namespace(f"{self.prefix}-{number}", template)
