"""What is going on, in one line of a terminal on standard error; nothing when nobody watches."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape


class Progress:
    """``begin`` names the workload, ``now`` says what it does."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._status: Any = None
        self._head = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("starting", spinner="dots")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self, workload: str, number: int, count: int) -> None:
        self._head = f"[{number}/{count}] {workload}"
        self.now("")

    def now(self, text: str) -> None:
        if self._status is not None:
            self._status.update(escape(f"{self._head} {text}"))

    def ended(self, text: str) -> None:
        """A workload's end, which stays on the screen."""
        if self._status is not None:
            self._console.print(text, markup=False, soft_wrap=True)
