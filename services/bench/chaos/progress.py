"""What a person sees of a run while it goes on: faults, pods, what was found wrong so far, how long it still lasts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from services.base.clock import Clock
from services.bench.chaos.faults import NAMES, TAKE_NODES
from services.bench.chaos.parameters import ChaosParameters
from services.bench.player.display import Display

TICK_S = 0.5


@dataclass(frozen=True)
class Standing:
    """How things are. ``injected``: faults that were begun; pods whose create was ``acknowledged``, in all, and that
    are ``running`` now."""

    injected: int
    acknowledged: int
    running: int


class Progress:
    """``step`` begins a part of the run that takes ``within_s`` at most, ``step_faults`` that of the faults; ``run``
    shows where it is until it is cancelled."""

    def __init__(self, display: Display, parameters: ChaosParameters, clock: Clock) -> None:
        self._display = display
        self._parameters = parameters
        self._clock = clock
        self._began = self._step_began = clock.monotonic()
        self._within_s = 0.0
        self._faults: Faults | None = None
        self._checked = self._violations = 0

    def say(self, text: str) -> None:
        """A line that stays, with the time since the run began."""
        self._display.say(f"{self._clock.monotonic() - self._began:7.1f} s  {text}")

    def step(self, name: str, within_s: float) -> None:
        self._step_began, self._within_s, self._faults = self._clock.monotonic(), within_s, None
        self._display.step(name, round(within_s))

    def step_faults(self) -> None:
        self.step("faults", 100)
        self._faults = Faults.of(self._parameters)

    def checked(self, *, violations: int) -> None:
        """A fault is over; ``violations``: what was not well again in time. All others are found at the end, when the
        whole history is judged."""
        self._checked += 1
        self._violations += violations

    async def run(self, standing: Callable[[], Standing]) -> None:
        while True:
            self.show(standing())
            await self._clock.sleep(TICK_S)

    def show(self, now: Standing) -> None:
        passed_s = self._clock.monotonic() - self._step_began
        if self._faults is None:
            done, left_s = passed_s, self._within_s - passed_s
        else:
            left_s = self._faults.left_s(passed_s, self._checked)
            done = 0.0 if math.isnan(left_s) else 100.0 * passed_s / max(passed_s + left_s, TICK_S)
        self._display.update(
            round(done),
            {
                "faults": now.injected,
                "acknowledged": f"{now.acknowledged:,}",
                "Running": f"{now.running:,}",
                "violations": self._violations,
                "seconds left": "–" if math.isnan(left_s) else f"{max(0.0, left_s):.0f}",
            },
        )


@dataclass(frozen=True)
class Faults:
    """How long the faults go on: a round of ``count`` of them is finished in any case, and new ones come for
    ``least_s``."""

    count: int
    least_s: float

    @classmethod
    def of(cls, parameters: ChaosParameters) -> Faults:
        names = parameters.faults or NAMES
        stays_away = parameters.in_background and any(name in TAKE_NODES for name in names)
        return cls(len(names), max(60.0 * parameters.minutes, parameters.away_s if stays_away else 0.0))

    def left_s(self, passed_s: float, checked: int) -> float:
        """By what a fault took so far, on average; not a number while the round's length is all that counts, and no
        fault is over."""
        by_time = self.least_s - passed_s
        to_come = max(0, self.count - checked)
        if to_come and not checked:
            return by_time if by_time > 0 else math.nan
        return max(by_time, to_come * passed_s / checked if checked else 0.0, 0.0)
