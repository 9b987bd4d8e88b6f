"""What is wrong with a field, and how a rule says so.

A rule returns violations whose paths start at the value it was given; whoever called it puts its own path before them
with ``under``. So a valid object costs no paths at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

Reason = Literal["Required", "Invalid", "NotSupported", "Duplicate", "TooLong", "Forbidden"]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """``field`` is a JSON path (``spec.containers[0].image``); ``message`` is a sentence without it."""

    field: str
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


Violations = list[FieldViolation]


def under(prefix: str, violations: Iterable[FieldViolation]) -> Violations:
    """The same violations one level further up."""
    return [FieldViolation(_join(prefix, item.field), item.reason, item.message) for item in violations]


def _join(prefix: str, field: str) -> str:
    if not field:
        return prefix
    return f"{prefix}{field}" if field[0] == "[" else f"{prefix}.{field}"


def required(field: str, detail: str = "") -> FieldViolation:
    return FieldViolation(field, "Required", f"Required value: {detail}" if detail else "Required value")


def invalid(field: str, value: object, detail: str) -> FieldViolation:
    return FieldViolation(field, "Invalid", f"Invalid value: {_shown(value)}: {detail}")


def not_supported(field: str, value: object, allowed: Collection[str]) -> FieldViolation:
    choices = ", ".join(f'"{choice}"' for choice in sorted(allowed))
    return FieldViolation(field, "NotSupported", f"Unsupported value: {_shown(value)}: supported values: {choices}")


def duplicate(field: str, value: object) -> FieldViolation:
    return FieldViolation(field, "Duplicate", f"Duplicate value: {_shown(value)}")


def too_long(field: str, limit: int, unit: str = "bytes") -> FieldViolation:
    return FieldViolation(field, "TooLong", f"Too long: may not be more than {limit} {unit}")


def forbidden(field: str, detail: str) -> FieldViolation:
    return FieldViolation(field, "Forbidden", f"Forbidden: {detail}")


def faults(field: str, value: object, sentences: Iterable[str]) -> Violations:
    """The sentences of ``services.api.names`` as violations."""
    return [invalid(field, value, sentence) for sentence in sentences]


def one_of(field: str, value: str, allowed: Collection[str], *, optional: bool = False) -> Violations:
    """An enumeration held as a string."""
    if value in allowed or (optional and not value):
        return []
    return [not_supported(field, value, allowed)] if value else [required(field, _choices(allowed))]


def _choices(allowed: Collection[str]) -> str:
    return f"one of {', '.join(sorted(allowed))}"


def non_negative(field: str, value: int) -> Violations:
    return [] if value >= 0 else [invalid(field, value, "must be greater than or equal to 0")]


def _shown(value: object) -> str:
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:80]}..."
    return f'"{text}"' if isinstance(value, str) else text
