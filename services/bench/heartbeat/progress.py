"""What a person sees of a run while it goes on: who is Ready, how many renewals a second are acknowledged, what that
takes, and how long it still lasts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

from services.base.clock import Clock
from services.bench.heartbeat.renewals import ACKNOWLEDGED
from services.bench.heartbeat.witness import Witness
from services.bench.observe.scraping import Increase, summed
from services.bench.player.display import Display


class Scraped(Protocol):
    """As much of ``scraping.Scraper`` as is needed here."""

    async def scrape(self) -> Increase: ...


class Pulse:
    """Renewals that kubelet hosts are told are stored: ``per_second`` between the last two readings, not a number until
    there are two. Hosts are read every ``period_s`` at most: reading takes of what is measured, and within less than
    the time between two renewals of a lease a rate says little."""

    def __init__(self, hosts: Sequence[Scraped], period_s: float, clock: Clock) -> None:
        self.per_second = math.nan
        self._hosts = hosts
        self._period_s = period_s
        self._clock = clock
        self._read_s: float | None = None

    async def look(self) -> None:
        """A host that does not answer (it is still starting) is told of by a later reading."""
        before_s, now_s = self._read_s, self._clock.monotonic()
        if before_s is not None and now_s - before_s < self._period_s:
            return
        self._read_s = now_s
        answers = await asyncio.gather(*(host.scrape() for host in self._hosts), return_exceptions=True)
        acknowledged = 0.0
        for answer in answers:
            if isinstance(answer, Increase):
                acknowledged += summed(answer.counters, ACKNOWLEDGED, outcome="ok")
            elif not isinstance(answer, OSError):
                raise answer
        if before_s is not None and now_s > before_s:
            self.per_second = acknowledged / (now_s - before_s)


class HasCores(Protocol):
    """As much of ``observe.Observer`` as is needed here."""

    def cores(self) -> float: ...


class Progress:
    """``step`` begins a part of the run, ``show`` says where it is."""

    def __init__(self, display: Display, witness: Witness, pulse: Pulse, observer: HasCores) -> None:
        self._display = display
        self._witness = witness
        self._pulse = pulse
        self._observer = observer

    def step(self, name: str, total: float) -> None:
        self._display.step(name, round(total))

    async def show(self, done: float, left_s: float) -> None:
        """``done`` of the step's total; ``left_s``: how long it may last yet."""
        await self._pulse.look()
        rate = self._pulse.per_second
        self._display.update(
            round(done),
            {
                "nodes Ready": f"{self._witness.ready:,}/{self._witness.wanted:,}",
                "renewals/s": "–" if math.isnan(rate) else f"{rate:,.0f}",
                "cores": f"{self._observer.cores():.2f}",
                "violations": len(self._witness.violations),
                "seconds left": f"{max(0.0, left_s):.0f}",
            },
        )
