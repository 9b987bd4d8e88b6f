"""Facts into a file, as they come."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from types import TracebackType

import msgspec

from services.bench.chaos.facts import AnyFact

_BUFFER_BYTES = 1 << 20


class Recorder:
    """Appends each fact as a line; ``path`` is whole when the block is left. Raises ``OSError``."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        self._file = path.open("wb", buffering=_BUFFER_BYTES)

    def add(self, fact: AnyFact) -> None:
        self._file.write(self._encoder.encode(fact) + b"\n")

    def extend(self, facts: Iterable[AnyFact]) -> None:
        for fact in facts:
            self.add(fact)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
