"""What a run does, while it runs: a bar and a table on a terminal, a plain line every few seconds elsewhere.

Everything goes to standard error; standard output is the result's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from services.base.clock import Clock

PLAIN_PERIOD_S = 2.0


class Display:
    """``step`` begins a bar, ``update`` moves it, ``say`` leaves a line."""

    def __init__(self, clock: Clock, console: Console | None = None) -> None:
        self._clock = clock
        self._console = console or Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), console=self._console, expand=True,
        )  # fmt: skip
        self._live: Live | None = None
        self._task = self._bar.add_task("", total=1)
        self._name, self._total = "", 1
        self._spoke = float("-inf")

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def step(self, name: str, total: int) -> None:
        """A new step: ``total`` is what ``done`` of ``update`` goes up to."""
        self._name, self._total = name, max(1, total)
        self._spoke = float("-inf")
        self._bar.reset(self._task, total=self._total, description=name)

    def update(self, done: int, numbers: Mapping[str, object]) -> None:
        """``numbers``: what the table shows, by name."""
        if self._live is not None:
            self._bar.update(self._task, completed=min(done, self._total))
            table = Table.grid(padding=(0, 3))
            for _ in numbers:
                table.add_column(justify="right")
            # Not as markup: a line that ``say`` leaves has it off, and is printed together with the table.
            table.add_row(*(Text(name, style="dim") for name in numbers))
            table.add_row(*(Text(str(value)) for value in numbers.values()))
            self._live.update(Group(self._bar, table))
            return
        now = self._clock.monotonic()
        if now - self._spoke >= PLAIN_PERIOD_S:
            self._spoke = now
            self.say(f"{self._name}: {done}/{self._total}  " + "  ".join(f"{k} {v}" for k, v in numbers.items()))
