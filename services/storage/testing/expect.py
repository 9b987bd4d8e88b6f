"""``raises``: a block must end in an exception of a given type. (Scenarios depend on no test framework.)"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Generic, TypeVar

E = TypeVar("E", bound=BaseException)


class Caught(Generic[E]):
    """``value`` is the exception, once the block is left."""

    def __init__(self) -> None:
        self._value: E | None = None

    @property
    def value(self) -> E:
        assert self._value is not None, "the block has not been left"
        return self._value

    def set(self, value: E) -> None:
        self._value = value


@contextlib.contextmanager
def raises(kind: type[E]) -> Iterator[Caught[E]]:
    caught: Caught[E] = Caught()
    try:
        yield caught
    except kind as failure:
        caught.set(failure)
        return
    raise AssertionError(f"{kind.__name__} was not raised")
