"""When which fault comes: one after the other, each followed by a check; slow ones go on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.base.clock import Clock
from services.base.rand import Rand
from services.bench.chaos.facts import Fault
from services.bench.chaos.faults import DARK, NAMES, NOT_MEANWHILE, TAKE_NODES, Faults
from services.bench.chaos.parameters import ChaosParameters

_BETWEEN_S = (1.0, 3.0)
_POLL_S = 0.5
# The tenant partition is out of reach so long before the first pods must go.
_DARK_BEFORE_S = 5.0
# A fault that lasts, and its check, beside the time that it is meant to last.
_MARGIN_S = 30.0

Check = Callable[[str, Sequence[Fault]], Awaitable[None]]


class Schedule:
    """``run`` it once. ``check``: told of every fault that is over, returns when all is well again or its time is up;
    no fault begins meanwhile. ``injected``: faults that were begun so far."""

    def __init__(self, faults: Faults, parameters: ChaosParameters, clock: Clock, rand: Rand, check: Check) -> None:
        self._faults = faults
        self._catalogue = faults.catalogue()
        self._parameters = parameters
        self._clock = clock
        self._rand = rand
        self._check = check
        self.injected = 0
        self._turn = asyncio.Lock()
        self._dark_to_come = False

    async def run(self) -> None:
        """Rounds of all faults in turn until the time is up; the first is finished in any case. Raises ``NotDone``."""
        names = list(self._parameters.faults or NAMES)
        deadline = self._clock.monotonic() + 60.0 * self._parameters.minutes
        if self._parameters.in_background and any(name in TAKE_NODES for name in names):
            await self._meanwhile(names)
        else:
            await self._rounds(names, lambda: self._clock.monotonic() >= deadline)

    async def _meanwhile(self, names: Sequence[str]) -> None:
        """Nodes go at once and stay away; the other faults come in turn, until they are back."""
        others = [name for name in names if name not in (*TAKE_NODES, *NOT_MEANWHILE, DARK)]
        async with asyncio.TaskGroup() as background:
            taking = [background.create_task(self._take(name)) for name in names if name in TAKE_NODES]
            if DARK in names and "node-death" in names:
                self._dark_to_come = True
                background.create_task(self._dark_in_time())
            await self._rounds(others, lambda: all(task.done() for task in taking))
        await self._rounds([name for name in names if name in NOT_MEANWHILE], lambda: True)

    async def _rounds(self, names: Sequence[str], is_over: Callable[[], bool]) -> None:
        first = True
        while names and (first or not is_over()):
            for name in names:
                if not first and is_over():
                    return
                await self._leave_room()
                async with self._turn:
                    await self._check(name, await self._inject(name))
                await self._clock.sleep(self._rand.uniform(*_BETWEEN_S))
            first = False

    async def _inject(self, name: str) -> list[Fault]:
        self.injected += 1
        return await self._catalogue[name]()

    async def _take(self, name: str) -> None:
        done = await self._inject(name)
        async with self._turn:
            await self._check(name, done)

    async def _dark_in_time(self) -> None:
        while (left_s := self._faults.evictions_begin_in()) is None or left_s > _DARK_BEFORE_S:
            await self._clock.sleep(_POLL_S)
        async with self._turn:
            await self._check(DARK, await self._inject(DARK))
        self._dark_to_come = False

    async def _leave_room(self) -> None:
        """Begin nothing that would still go on when the evictions begin."""
        while self._dark_to_come:
            left_s = self._faults.evictions_begin_in()
            if left_s is not None and left_s > self._parameters.outage_s + _MARGIN_S:
                return
            await self._clock.sleep(_POLL_S)
