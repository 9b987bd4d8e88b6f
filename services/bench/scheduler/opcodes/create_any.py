"""createAny: objects of any kind from a template."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.api.kinds import Kind
from services.bench.scheduler import templates
from services.bench.scheduler.errors import FileError, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World

RETRY_FOR_S = 20.0
RETRY_AFTER_S = 1.0


@dataclass(frozen=True)
class CreateAny(Operation):
    """``count`` objects, 1 if it is not given; templates see ``.Index`` and ``.Count``."""

    opcode = "createAny"
    template: pathlib.Path
    namespace: str = ""
    count: int | str = 1
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> CreateAny:
        template = fields.path("templatePath")
        if template is None:
            raise FileError(f"{fields.where}: wants a templatePath")
        return cls(template, fields.text("namespace"), fields.counted("count", 1), fields.mapping("templateParams"))

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [replace(self, count=params.integer(self.count), values=params.resolved(self.values))]

    def check(self) -> None:
        check(self.template, self.namespace, {**self.values, "Index": 0, "Count": self.count})

    async def run(self, world: World, index: int) -> None:
        assert isinstance(self.count, int)
        if self.namespace:
            await world.ensure_namespace(self.namespace)
        for number in range(self.count):
            values = {**self.values, "Index": number, "Count": self.count}
            manifest = templates.load(self.template).manifest(values)
            await self._create(world, manifest.kind, manifest.object, number)

    async def _create(self, world: World, kind: Kind, template: Any, number: int) -> None:
        """Upstream tries for 20 s, whatever the error."""
        until = world.clock.monotonic() + RETRY_FOR_S
        while True:
            try:
                await world.create_object(kind, template, self.namespace, number)
                return
            except StatusError as failure:
                if world.clock.monotonic() >= until:
                    raise WorkloadFailed(f"createAny: {self.template.name}: {failure}") from failure
            await world.clock.sleep(RETRY_AFTER_S)


def check(path: pathlib.Path, namespace: str, values: Mapping[str, Any]) -> None:
    """The template can be had, and a namespace is given exactly for a kind that has namespaces."""
    template = templates.load(path)
    template.check(None, values)
    kind = template.manifest(values).kind
    if kind.namespaced is not bool(namespace):
        raise FileError(f"{path.name}: namespace {namespace!r} for {kind.name}, whose scope is {kind.scope}")
