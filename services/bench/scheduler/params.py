"""A workload's parameters, each of which must be used: an unused one is a mistyped one (upstream's rule)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.bench.scheduler.errors import FileError


class Params:
    """``$name`` stands for ``values[name]``; anything else stands for itself."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._used: set[str] = set()

    def _value(self, reference: str) -> Any:
        name = reference.removeprefix("$")
        if name not in self._values:
            raise FileError(f"parameter {name} is undefined")
        self._used.add(name)
        return self._values[name]

    def integer(self, value: int | str) -> int:
        """A count ≥ 0."""
        found = self._value(value) if isinstance(value, str) else value
        if type(found) is float and found.is_integer():
            found = int(found)
        if type(found) is not int or found < 0:
            raise FileError(f"parameter {value} must be a count, is {found!r}")
        return found

    def text(self, reference: str) -> str:
        found = self._value(reference)
        if not isinstance(found, str):
            raise FileError(f"parameter {reference} must be a string, is {found!r}")
        return found

    def flag(self, reference: str) -> bool:
        found = self._value(reference)
        if type(found) is not bool:
            raise FileError(f"parameter {reference} must be true or false, is {found!r}")
        return found

    def resolved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Template parameters: string values that start with $ are looked up."""
        return {
            key: self._value(value) if isinstance(value, str) and value.startswith("$") else value
            for key, value in values.items()
        }

    def unused(self) -> list[str]:
        return sorted(set(self._values) - self._used)
