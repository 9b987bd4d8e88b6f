"""Kubernetes' JSON form of a message, both ways, by walking the message's descriptor.

Written by hand so that every fault carries its exact path (``spec.containers[0].resorces``) and what protobuf's own
JSON gets wrong for Kubernetes is right: IntOrString, numbers as quantities, int64 as numbers but resource versions as
strings, ``null`` as unset, zero values that must be seen (``exitCode: 0``).
"""

from __future__ import annotations

import datetime
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

DEPTH_MAX = 64
VALUES_MAX = 1_000_000

_QUANTITIES = frozenset(
    (
        "ursa.core.v1.ResourceRequirements.limits",
        "ursa.core.v1.ResourceRequirements.requests",
        "ursa.core.v1.PodSpec.overhead",
        "ursa.core.v1.NodeStatus.capacity",
        "ursa.core.v1.NodeStatus.allocatable",
        "ursa.core.v1.EmptyDirVolumeSource.size_limit",
        "ursa.core.v1.ResourceFieldSelector.divisor",
    )
)
# Kubernetes' MicroTime: always six digits.
_MICRO_TIMES = frozenset(
    (
        "ursa.coordination.v1.LeaseSpec.acquire_time",
        "ursa.coordination.v1.LeaseSpec.renew_time",
        "ursa.core.v1.Event.event_time",
        "ursa.core.v1.EventSeries.last_observed_time",
    )
)
# Fields without `omitempty` in Kubernetes whose zero is an answer.
_ALWAYS_SHOWN = frozenset(
    (
        "ursa.core.v1.ContainerStatus.ready",
        "ursa.core.v1.ContainerStatus.restart_count",
        "ursa.core.v1.ContainerStateTerminated.exit_code",
        "ursa.scheduling.v1.PriorityClass.value",
    )
)
# Empty, these say nothing and are the same as unset; any other empty message speaks (`emptyDir: {}`).
_OMITTED_WHEN_EMPTY = frozenset(("metadata", "spec", "status", "resources", "securityContext"))

_INT_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799  # years 1 to 9999, all that RFC 3339 can say


@dataclass(frozen=True, slots=True)
class Fault:
    """``path`` of the value, from the object's root; ``unknown``: the field does not exist (else a wrong value)."""

    path: str
    message: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class _Refused(ValueError):
    """One value cannot become the field's type."""


@dataclass(slots=True)
class _Reading:
    faults: list[Fault] = field(default_factory=list)
    values: int = 0

    def count(self) -> None:
        self.values += 1
        if self.values > VALUES_MAX:
            raise _Refused(f"more than {VALUES_MAX} values")


def read(source: Mapping[str, Any], message: Message, path: str = "") -> list[Fault]:
    """Fill ``message`` from the JSON form. What is faulty is left out and reported; no fault: all of it was taken."""
    reading = _Reading()
    try:
        _read_message(source, message, path, reading, 0)
    except _Refused as refused:
        reading.faults.append(Fault(path, str(refused)))
    return reading.faults


@lru_cache(maxsize=1024)
def _fields_by_json_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {item.json_name: item for item in descriptor.fields}


def _read_message(source: Any, message: Message, path: str, reading: _Reading, depth: int) -> None:
    if not isinstance(source, Mapping):
        reading.faults.append(Fault(path, f"want an object, got {describe(source)}"))
        return
    if depth > DEPTH_MAX:
        raise _Refused(f"nested deeper than {DEPTH_MAX} levels")
    known = _fields_by_json_name(message.DESCRIPTOR)
    for name, value in source.items():
        reading.count()
        here = f"{path}.{name}" if path else str(name)
        target = known.get(name)
        if target is None:
            reading.faults.append(_unknown(name, here, known))
        elif value is not None and not (value == {} and name in _OMITTED_WHEN_EMPTY):
            _read_field(value, message, target, here, reading, depth)


def _unknown(name: Any, path: str, known: Mapping[str, FieldDescriptor]) -> Fault:
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.75)
    return Fault(path, f"unknown field (did you mean {close[0]}?)" if close else "unknown field", unknown=True)


def _read_field(
    value: Any, message: Message, target: FieldDescriptor, path: str, reading: _Reading, depth: int
) -> None:
    if _is_map(target):
        _read_map(value, message, target, path, reading, depth)
    elif target.is_repeated:
        _read_list(value, message, target, path, reading, depth)
    elif target.message_type is not None:
        _read_singular(value, getattr(message, target.name), target, path, reading, depth)
    else:
        try:
            setattr(message, target.name, _scalar(value, target))
        except _Refused as refused:
            reading.faults.append(Fault(path, str(refused)))


def _read_singular(
    value: Any, message: Message, target: FieldDescriptor, path: str, reading: _Reading, depth: int
) -> None:
    special = _READERS.get(message.DESCRIPTOR.full_name)
    if special is None:
        message.SetInParent()
        _read_message(value, message, path, reading, depth + 1)
        return
    try:
        special(value, message)
    except _Refused as refused:
        reading.faults.append(Fault(path, str(refused)))


def _read_map(value: Any, message: Message, target: FieldDescriptor, path: str, reading: _Reading, depth: int) -> None:
    if not isinstance(value, Mapping):
        reading.faults.append(Fault(path, f"want an object, got {describe(value)}"))
        return
    entry = _entry_value(target)
    into = getattr(message, target.name)
    for key, item in value.items():
        reading.count()
        here = f"{path}[{key}]"
        try:
            name = _string(str(key), False)
            # As in Kubernetes, null is the zero value here: the key exists.
            if entry.message_type is None:
                into[name] = _scalar(item, entry, target) if item is not None else _zero(entry, target)
            elif item is None:
                into[name].SetInParent()
            else:
                _read_singular(item, into[name], entry, here, reading, depth)
        except _Refused as refused:
            reading.faults.append(Fault(here, str(refused)))


def _entry_value(target: FieldDescriptor) -> FieldDescriptor:
    assert target.message_type is not None
    return target.message_type.fields_by_name["value"]


def _zero(entry: FieldDescriptor, target: FieldDescriptor) -> Any:
    return "0" if target.full_name in _QUANTITIES else entry.default_value


def _read_list(value: Any, message: Message, target: FieldDescriptor, path: str, reading: _Reading, depth: int) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        reading.faults.append(Fault(path, f"want a list, got {describe(value)}"))
        return
    into = getattr(message, target.name)
    for index, item in enumerate(value):
        reading.count()
        here = f"{path}[{index}]"
        if item is None:
            reading.faults.append(Fault(here, "null is not an item"))
        elif target.message_type is not None:
            _read_singular(item, into.add(), target, here, reading, depth)
        else:
            try:
                into.append(_scalar(item, target))
            except _Refused as refused:
                reading.faults.append(Fault(here, str(refused)))


def _scalar(value: Any, target: FieldDescriptor, owner: FieldDescriptor | None = None) -> Any:
    """``owner`` is the map field when ``target`` is its value."""
    kind = target.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _string(value, (owner or target).full_name in _QUANTITIES)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        raise _Refused(f"want true or false, got {describe(value)}")
    if kind in _INT_RANGES:
        return _integer(value, target)
    raise _Refused(f"fields of this type have no JSON form, got {describe(value)}")


def _string(value: Any, quantity: bool) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("not valid Unicode text") from None
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if quantity and number and (isinstance(value, int) or math.isfinite(value)):
        return str(int(value)) if isinstance(value, int) or _is_exact(value) else repr(value)
    if quantity:
        raise _Refused(f"want a quantity such as 250m or 2Gi, got {describe(value)}")
    hint = "; put it in quotes" if number or isinstance(value, bool) else ""
    raise _Refused(f"want a string, got {describe(value)}{hint}")


def _is_exact(value: float) -> bool:
    return value.is_integer() and abs(value) < 2**53


def _integer(value: Any, target: FieldDescriptor) -> int:
    if target.name == "resource_version":
        return _resource_version(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Refused(f"want an integer, got {describe(value)}")
    low, high = _INT_RANGES[target.cpp_type]
    if not low <= value <= high:
        raise _Refused(f"{_short(value)} is out of range: want {low} to {high}")
    return value


def _resource_version(value: Any) -> int:
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if text == "" and isinstance(value, str):
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > 2**63 - 1:
        raise _Refused(f"want a resource version, which is a string of digits, got {describe(value)}")
    return int(text)


def _read_timestamp(value: Any, message: Any) -> None:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _Refused(f"want a time such as 2026-01-31T12:00:00Z (RFC 3339), got {describe(value)}")
    year, month, day, hour, minute, second = (int(match.group(index)) for index in range(1, 7))
    try:
        time = datetime.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=datetime.UTC)
    except ValueError as error:
        raise _Refused(f"{value!r}: {error}") from None
    seconds = int((time - _EPOCH).total_seconds()) + (second - min(second, 59))
    if match.group(9):
        offset = int(match.group(10)) * 3600 + int(match.group(11)) * 60
        seconds -= offset if match.group(9) == "+" else -offset
    message.seconds = seconds
    message.nanos = int((match.group(7) or "").ljust(9, "0"))
    message.SetInParent()


def _read_int_or_string(value: Any, message: Any) -> None:
    if isinstance(value, str):
        message.string_value = _string(value, False)
    elif type(value) is int and -(2**31) <= value < 2**31:
        message.number_value = value
    else:
        raise _Refused(f"want an integer or a string, got {describe(value)}")


_READERS: dict[str, Callable[[Any, Any], None]] = {
    "google.protobuf.Timestamp": _read_timestamp,
    "google.protobuf.Value": _read_int_or_string,
}


def describe(value: Any) -> str:
    """What a person wrote, for an error: ``the string "5"``, ``a list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {_short(value)}"
    if isinstance(value, str):
        return f'the string "{_short(value)}"'
    return "an object" if isinstance(value, Mapping) else "a list"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _is_map(target: FieldDescriptor) -> bool:
    return target.is_repeated and target.message_type is not None and target.message_type.GetOptions().map_entry


def write(message: Message, *, skip: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON form: unset and empty things left out, fields in the message's order, map keys sorted.

    ``skip`` names top-level fields (proto names) that the caller writes itself.
    """
    found: dict[str, Any] = {}
    present = {target.name: value for target, value in message.ListFields()}
    for target in _shown_fields(message.DESCRIPTOR):
        if target.name in present:
            if target.name not in skip:
                _write_field(found, target, present[target.name])
        elif target.full_name in _ALWAYS_SHOWN:
            found[target.json_name] = getattr(message, target.name)
    return found


@lru_cache(maxsize=1024)
def _shown_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(sorted(descriptor.fields, key=lambda item: item.number))


def _write_field(into: dict[str, Any], target: FieldDescriptor, value: Any) -> None:
    if _is_map(target):
        entry = _entry_value(target)
        into[target.json_name] = {key: _write_value(value[key], entry) for key in sorted(value)}
    elif target.is_repeated:
        into[target.json_name] = [_write_value(item, target) for item in value]
    else:
        shown = _write_value(value, target)
        if shown != {} or target.json_name not in _OMITTED_WHEN_EMPTY:
            into[target.json_name] = shown


def _write_value(value: Any, target: FieldDescriptor) -> Any:
    if target.message_type is None:
        return str(value) if target.name == "resource_version" else value
    name = target.message_type.full_name
    if name == "google.protobuf.Timestamp":
        return time_text(value, micro=target.full_name in _MICRO_TIMES)
    if name == "google.protobuf.Value":
        return _int_or_string(value)
    return write(value)


def _int_or_string(value: Any) -> int | str | float:
    if value.HasField("string_value"):
        return str(value.string_value)
    number = float(value.number_value)
    return int(number) if number.is_integer() else number


def time_text(timestamp: Any, *, micro: bool = False) -> str:
    """RFC 3339 in UTC; whole seconds where there is no fraction, six digits for ``micro``."""
    time = _EPOCH + datetime.timedelta(seconds=min(max(timestamp.seconds, _FIRST_SECOND), _LAST_SECOND))
    text = time.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if micro:
        return f"{text}.{timestamp.nanos // 1000:06d}Z"
    fraction = f"{timestamp.nanos:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"
