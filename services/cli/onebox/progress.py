"""Showing long work: a live line in a terminal, one plain line per step elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console


class Progress:
    """``now`` says what is being waited for, ``done`` that something is finished; both go to stderr. ``live``: a
    line that changes in place is seen as such."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self._status: Any = None
        self._last = ""

    def __enter__(self) -> Progress:
        if self.live:
            self._status = self.console.status("starting", spinner="dots")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def now(self, text: str) -> None:
        """What is going on; repeated in place in a terminal, printed when it changes elsewhere."""
        if text == self._last:
            return
        self._last = text
        if self._status is not None:
            self._status.update(text)
        else:
            self.console.print(text, markup=False, soft_wrap=True)

    def done(self, text: str) -> None:
        """A step that is finished, with a tick."""
        self._line("[green]✓[/green]", text)

    def warn(self, text: str) -> None:
        self._line("[yellow]![/yellow]", text)

    def _line(self, mark: str, text: str) -> None:
        from rich.markup import escape

        self.console.print(f"{mark} {escape(text)}", soft_wrap=True)
