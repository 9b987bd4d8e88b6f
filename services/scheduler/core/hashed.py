"""Values that are looked up far more often than they are made."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property


class Hashed:
    """A base for frozen dataclasses (without slots) whose hash is worked out once.

    The dataclass must name it, as defining equality would otherwise replace it: ``__hash__ = Hashed.__hash__``.
    """

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return self._hash
