"""One mapping of a workload file, read field by field: types checked, names matched as Go's JSON does, nothing left.

Upstream decodes these files with encoding/json into structs without tags: names match whatever their case is, and
unknown ones are errors.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from services.bench.scheduler.errors import FileError

T = TypeVar("T")

_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str, where: str = "duration") -> float:
    """A Go duration (``1m30s``) in seconds. Raises ``FileError``."""
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(parts) != text:
        raise FileError(f"{where}: {text!r} is not a duration such as 500ms or 1m30s")
    total = 0.0
    for part in parts:
        unit = part.lstrip("0123456789.")
        total += float(part[: -len(unit)]) * _UNIT_S[unit]
    return total


class Fields:
    """``where`` leads every message; ``base`` is the directory that relative paths start from."""

    def __init__(self, raw: Any, where: str, base: pathlib.Path) -> None:
        if not isinstance(raw, Mapping):
            raise FileError(f"{where}: want a mapping, got {type(raw).__name__}")
        self.where = where
        self.base = base
        self._raw = {str(name).lower(): (str(name), value) for name, value in raw.items()}

    def take(self, name: str) -> Any:
        """The value, which is then read; None if it is absent."""
        return self._raw.pop(name.lower(), (name, None))[1]

    def _typed(self, name: str, wanted: type[T], default: T) -> T:
        value = self.take(name)
        if value is None:
            return default
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise FileError(f"{self.where}.{name}: want {wanted.__name__}, got {value!r}")
        return value

    def text(self, name: str, default: str = "") -> str:
        return self._typed(name, str, default)

    def integer(self, name: str, default: int = 0) -> int:
        """An integer ≥ 0."""
        value = self._typed(name, int, default)
        if value < 0:
            raise FileError(f"{self.where}.{name}: must not be negative, is {value}")
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        return self._typed(name, float, default)

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, False)

    def counted(self, name: str, default: int = 0) -> int | str:
        """``<name>``, or the ``$parameter`` of ``<name>Param``, which takes precedence."""
        value = self.integer(name, default)
        return self.parameter(f"{name}Param") or value

    def parameter(self, name: str) -> str:
        """A ``$parameter``; "" if absent."""
        value = self.text(name)
        if value and not value.startswith("$"):
            raise FileError(f"{self.where}.{name}: a parameter starts with $, got {value!r}")
        return value

    def duration(self, name: str) -> float | str:
        """Seconds, or the ``$parameter`` of ``<name>Param``."""
        value = self.text(name, "0")
        return self.parameter(f"{name}Param") or seconds(value, f"{self.where}.{name}")

    def path(self, name: str) -> pathlib.Path | None:
        """A path relative to the file."""
        value = self.text(name)
        return (self.base / value) if value else None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise FileError(f"{self.where}.{name}: want a list of strings")
        return tuple(value)

    def paths(self, name: str) -> tuple[pathlib.Path, ...]:
        return tuple(self.base / item for item in self.texts(name))

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise FileError(f"{self.where}.{name}: want a mapping")
        return dict(value)

    def labels(self, name: str) -> dict[str, str]:
        found = self.mapping(name)
        if not all(isinstance(value, str) for value in found.values()):
            raise FileError(f"{self.where}.{name}: want strings")
        return found

    def items(self, name: str) -> list[Any]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise FileError(f"{self.where}.{name}: want a list")
        return value

    def nested(self, name: str) -> Fields | None:
        value = self.take(name)
        return None if value is None else Fields(value, f"{self.where}.{name}", self.base)

    def done(self) -> None:
        """Raises ``FileError`` if anything was not read."""
        if self._raw:
            unknown = ", ".join(sorted(name for name, _ in self._raw.values()))
            raise FileError(f"{self.where}: unknown fields: {unknown}")
