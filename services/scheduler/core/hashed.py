"""Values that are looked up far more often than they are made."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar


class Hashed:
    """A base for frozen dataclasses (without slots) whose hash is worked out once.

    The dataclass must name it, as defining equality would otherwise replace it: ``__hash__ = Hashed.__hash__``.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__dataclass_fields__))

    def __hash__(self) -> int:
        return self._hash
