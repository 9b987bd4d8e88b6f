"""YAML and JSON text to plain documents: dictionaries with string keys, lists, strings, numbers, booleans, None.

Scalars are read as kubectl reads them: times stay strings, ``1e3`` is a number, ``22:22`` is a string and not a count
of seconds. A key that is written twice is an error, for the second value would silently replace the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

# libyaml's parser is some ten times faster; the pure one is the same loader without it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

DEPTH_MAX = 100
NUMBER_LENGTH_MAX = 1000
VALUES_MAX = 2_000_000

_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)
_SPECIAL_STARTS = frozenset("-+0123456789.yYnNtTfFoO")


class DocumentError(ValueError):
    """The text is not YAML or JSON. ``line`` and ``column`` count from 1; 0: not known."""

    def __init__(self, message: str, document: int, line: int = 0, column: int = 0) -> None:
        place = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{place}{message}")
        self.message = message
        self.document = document
        self.line = line
        self.column = column


_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being read. ``key`` is what the next value belongs to."""

    value: Any
    start: Any
    anchor: str | None
    size: int = 1
    key: str | None = None
    merges: list[Any] = field(default_factory=list)


_MERGE = object()
_Sized = tuple[Any, int]
"""A value and how many values it stands for when all aliases are written out."""


class _Reader:
    """One YAML document from its events, without recursion. Bounds depth, and size with all aliases written out."""

    def __init__(self) -> None:
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Sized | None] = {}
        self.root: Any = None

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, event, "map")
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], event, "seq")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()

    def _scalar(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event)
            return
        value = _resolve(event)
        self._anchor(event.anchor, (value, 1))
        self._put(value, 1, event)

    def _key(self, frame: _Frame, event: Any) -> None:
        merge = event.value == "<<" and event.implicit[0]
        key = event.value if merge else _key_text(_resolve(event))
        if key in frame.value and not merge:
            raise _fault(f"the key {key!r} is written twice", event)
        self._anchor(event.anchor, (key, 1))
        frame.key = key
        frame.value.setdefault(key, _MERGE if merge else None)

    def _open(self, value: Any, event: Any, tag: str) -> None:
        if len(self._stack) >= DEPTH_MAX:
            raise _fault(f"nested deeper than {DEPTH_MAX} levels", event)
        if event.tag not in (None, "!", _TAG + tag):
            raise _fault(f"the tag {event.tag} is not supported", event)
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise _fault("a key must be a plain value", event)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(value, event, event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.merges:
            for merged in frame.merges:
                for key, value in merged.items():
                    frame.value.setdefault(key, value)
        self._anchor(frame.anchor, (frame.value, frame.size))
        self._put(frame.value, frame.size, frame.start)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _fault(f"no anchor &{event.anchor} before", event)
        found = self._anchors[event.anchor]
        if found is None:
            raise _fault(f"*{event.anchor} holds itself", event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            raise _fault("a key must be a plain value", event)
        self._put(*found, event)

    def _anchor(self, name: str | None, value: _Sized) -> None:
        if name:
            self._anchors[name] = value

    def _put(self, value: Any, size: int, event: Any) -> None:
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        frame.size += size
        if frame.size > VALUES_MAX:
            raise _fault(f"more than {VALUES_MAX} values", event)
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.value[frame.key] is _MERGE:
            self._merge(frame, value, event)
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _merge(self, frame: _Frame, value: Any, event: Any) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in merged):
            raise _fault("<< wants a mapping or a list of mappings", event)
        frame.merges += merged
        del frame.value[frame.key]
        frame.key = None


def _fault(message: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)


def _resolve(event: Any) -> Any:
    """A scalar's value: quoted or tagged ``!!str`` is text, else as it looks."""
    text: str = event.value
    tag = event.tag
    if tag is None:
        return _plain(text, event) if event.implicit[0] else text
    if tag in ("!", _TAG + "str"):
        return text
    if tag not in (_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"):
        raise _fault(f"the tag {tag} is not supported", event)
    value = _plain(text, event)
    if tag == _TAG + "float" and type(value) is int:
        return float(value)
    if isinstance(value, str):
        raise _fault(f"{text!r} is not of type {tag.removeprefix(_TAG)}", event)
    return value


def _plain(text: str, event: Any) -> Any:
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text[0] not in _SPECIAL_STARTS:
        return text
    if _BOOL.fullmatch(text):
        return text.lower() in ("yes", "true", "on")
    try:
        if _INT.fullmatch(text):
            if len(text) > NUMBER_LENGTH_MAX:
                raise ValueError(f"a number of more than {NUMBER_LENGTH_MAX} digits")
            return _integer(text.replace("_", "").lower())
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise _fault(str(error), event) from None
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xbo"
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text[0] == "-" else value


def _key_text(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def reads_as_string(text: str) -> bool:
    """Written plainly, the text would stay text here and for YAML 1.1 readers that know ``y`` and ``n``."""
    return not (_BOOL.fullmatch(text) or _INT.fullmatch(text) or _FLOAT.fullmatch(text) or text in ("y", "Y", "n", "N"))


def load(text: str) -> Iterator[tuple[int, Any]]:
    """(number from 1, document) of every document that is not empty. Raises ``DocumentError``."""
    if not text.lstrip("\ufeff \t\r\n").startswith("{"):
        yield from _yaml(text.removeprefix("\ufeff"))
        return
    try:
        documents = list(_json(text))
    except DocumentError as error:
        # A flow mapping is YAML and not JSON: {a: b}. If it is neither, what is wrong with the JSON says more.
        try:
            documents = list(_yaml(text))
        except DocumentError as other:
            raise (error if error.line else other) from None
    yield from documents


def _yaml(text: str) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.DocumentStartEvent):
                number += 1
                reader = _Reader()
            elif isinstance(event, yaml.DocumentEndEvent):
                if reader.root is not None:
                    yield number, reader.root
            elif number:
                reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise DocumentError(error.problem or str(error), max(number, 1), line, column) from error
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        raise DocumentError(str(error.reason), max(number, 1), line, column) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise DocumentError(str(error), max(number, 1)) from error


def _json(text: str) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)
    number, at = 0, _skip_space(text, 0)
    while at < len(text):
        number += 1
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise DocumentError(error.msg, number, error.lineno, error.colno) from error
        except (ValueError, RecursionError) as error:
            raise DocumentError(str(error) or "nested too deep", number) from error
        yield number, document
        at = _skip_space(text, at)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\ufeff":
        at += 1
    return at


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"the key {twice!r} is written twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[: max(position, 0)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
