"""churn: objects that come (``create``), or come and go (``recreate``), in the background until the workload ends."""

from __future__ import annotations

import itertools
import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.api.kinds import Kind
from services.bench.scheduler import templates
from services.bench.scheduler.errors import FileError
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation, own_namespace
from services.bench.scheduler.params import Params
from services.bench.ticker import ticks
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World

CREATE, RECREATE = "create", "recreate"
DEFAULT_INTERVAL_MS = 500


@dataclass(frozen=True)
class Churn(Operation):
    """``number``: how many rounds of creates (0: no end); with ``recreate`` how many objects live at a time."""

    opcode = "churn"
    mode: str
    templates: tuple[pathlib.Path, ...]
    number: int = 0
    interval_ms: int = DEFAULT_INTERVAL_MS
    namespace: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Churn:
        made = cls(
            fields.text("mode"),
            fields.paths("templatePaths"),
            fields.integer("number"),
            fields.integer("intervalMilliseconds") or DEFAULT_INTERVAL_MS,
            fields.text("namespace"),
        )
        if made.mode not in (CREATE, RECREATE):
            raise FileError(f"{fields.where}: mode must be {CREATE} or {RECREATE}, is {made.mode!r}")
        if made.mode == RECREATE and not made.number:
            raise FileError(f"{fields.where}: {RECREATE} wants a number")
        if not made.templates:
            raise FileError(f"{fields.where}: wants templatePaths")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [self]

    def check(self) -> None:
        for path in self.templates:
            templates.load(path).check(None, {})

    async def run(self, world: World, index: int) -> None:
        namespace = own_namespace(self.namespace, index)
        await world.ensure_namespace(namespace)
        made = [templates.load(path).manifest({}) for path in self.templates]
        objects = [_Churned(world, manifest.kind, manifest.object, namespace) for manifest in made]
        world.background(self._churn(world, objects), f"churn-{index}")

    async def _churn(self, world: World, objects: list[_Churned]) -> None:
        rounds = range(self.number) if self.mode == CREATE and self.number else itertools.count()
        counting = iter(rounds)
        async for _ in ticks(world.clock, self.interval_ms / 1000.0):
            number = next(counting, None)
            if number is None:
                return
            for one in objects:
                await one.turn(number if self.mode == CREATE else number % self.number, self.mode == RECREATE)


class _Churned:
    """The objects of one template: slots that are filled and, when objects go again, emptied in turn."""

    def __init__(self, world: World, kind: Kind, template: Any, namespace: str) -> None:
        self._world = world
        self._kind = kind
        self._template = template
        self._namespace = namespace
        self._slots: dict[int, list[tuple[str, int]]] = {}
        self._said = False

    async def turn(self, slot: int, deletes: bool) -> None:
        """Empty the slot if it is full, else fill it."""
        full = self._slots.pop(slot, None) if deletes else None
        try:
            if full is None:
                made = await self._world.create_object(self._kind, self._template, self._namespace, slot)
                if deletes:
                    self._slots[slot] = made
                return
            for name, home in full:
                await self._world.delete_object(self._kind, name, self._namespace, slot, home)
        except StatusError as failure:
            # As upstream, churn goes on; but it is said, once, for a churn that does nothing changes the result.
            if not self._said:
                self._world.notes.append(f"churn: {self._kind.name}: {failure}")
                self._said = True
