"""Manifests: Kubernetes' YAML and JSON to objects, and back.

An unmodified Kubernetes manifest loads. A field that this API does not know is refused with its path by default, never
dropped without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from google.protobuf.message import Message

from services.api import documents, jsonform
from services.api.kinds import KINDS, Kind, UnknownKind, kind_of

Validate = Literal["strict", "warn", "ignore"]
"""What becomes of unknown fields: an error, a warning, nothing."""

_HEADER = frozenset(("api_version", "kind"))


class ManifestError(ValueError):
    """A document cannot become an object; nothing of it is usable.

    ``path`` of the first fault ("" for the document as a whole), ``message`` what is wrong there, ``document`` counts
    from 1, ``source`` is a file name or "-". ``faults`` are all faults found.
    """

    def __init__(
        self, path: str, message: str, document: int = 1, source: str = "-", faults: Sequence[jsonform.Fault] = ()
    ) -> None:
        self.path = path
        self.message = message
        self.document = document
        self.source = source
        self.faults = tuple(faults) or (jsonform.Fault(path, message),)
        place = source if source != "-" else "stdin"
        super().__init__(f"{place}, document {document}: {'; '.join(map(str, self.faults))}")


@dataclass(frozen=True)
class Manifest:
    """One object. ``warnings``: unknown fields that were left out. ``raw``: the document as it was written."""

    kind: Kind
    object: Any
    warnings: tuple[str, ...]
    document: int
    raw: dict[str, Any]


def load(text: str, *, validate: Validate = "strict", source: str = "-") -> list[Manifest]:
    """All objects of a YAML stream, a JSON stream or a ``List``, in order. Raises ``ManifestError``."""
    try:
        found = list(documents.load(text))
    except documents.DocumentError as error:
        raise ManifestError("", str(error), error.document, source) from error
    return [
        _manifest(raw, path, number, source, validate)
        for number, document in found
        for path, raw in _items(document, "", number, source, 0)
    ]


def from_dict(source: Mapping[str, Any], validate: Validate = "strict") -> Manifest:
    """One object with its ``apiVersion`` and ``kind``. Raises ``ManifestError``."""
    return _manifest(dict(source), "", 1, "-", validate)


def parse_json(kind: Kind, source: Mapping[str, Any]) -> Any:
    """The message of a known kind, strictly; ``apiVersion`` and ``kind`` may be absent. Raises ``ManifestError``."""
    for name, expected in (("apiVersion", kind.api_version), ("kind", kind.name)):
        written = source.get(name)
        if written is not None and written != expected:
            raise ManifestError(name, f"want {expected}, got {jsonform.describe(written)}")
    message, _ = _message(kind, source, "", 1, "-", "strict")
    return message


def _items(document: Any, path: str, number: int, source: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document, or the items of a ``List`` (also of a ``PodList`` and its like, whose items need no header)."""
    if not isinstance(document, dict):
        raise ManifestError(path, f"want an object, got {jsonform.describe(document)}", number, source)
    header = _list_header(document)
    if header is None:
        yield path, document
        return
    items = document.get("items")
    where = f"{path}.items" if path else "items"
    if depth > 8 or not isinstance(items, list | None):
        raise ManifestError(where, "want a list of objects", number, source)
    for index, item in enumerate(items or ()):
        if isinstance(item, dict):
            item = {**header, **item}
        yield from _items(item, f"{where}[{index}]", number, source, depth + 1)


def _list_header(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: not a list; else what its items inherit."""
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if api_version == "v1" and kind == "List":
        return {}
    if isinstance(kind, str) and kind.endswith("List"):
        for known in KINDS.values():
            if (known.api_version, f"{known.name}List") == (api_version, kind):
                return {"apiVersion": api_version, "kind": known.name}
    return None


def _manifest(raw: dict[str, Any], path: str, number: int, source: str, validate: Validate) -> Manifest:
    kind = _kind(raw, path, number, source)
    message, warnings = _message(kind, raw, path, number, source, validate)
    return Manifest(kind, message, warnings, number, raw)


def _kind(raw: Mapping[str, Any], path: str, number: int, source: str) -> Kind:
    prefix = f"{path}." if path else ""
    for name in ("apiVersion", "kind"):
        value = raw.get(name)
        if value is None or value == "":
            raise ManifestError(f"{prefix}{name}", "is required", number, source)
        if not isinstance(value, str):
            raise ManifestError(f"{prefix}{name}", f"want a string, got {jsonform.describe(value)}", number, source)
    try:
        return kind_of(raw["apiVersion"], raw["kind"])
    except UnknownKind as error:
        raise ManifestError(f"{prefix}kind", str(error), number, source) from error


def _message(
    kind: Kind, raw: Mapping[str, Any], path: str, number: int, source: str, validate: Validate
) -> tuple[Message, tuple[str, ...]]:
    message = kind.message()
    body = {key: value for key, value in raw.items() if key not in ("apiVersion", "kind")}
    faults = jsonform.read(body, message, path)
    errors = [fault for fault in faults if validate == "strict" or not fault.unknown]
    if errors:
        raise ManifestError(errors[0].path, errors[0].message, number, source, errors)
    return message, tuple(map(str, faults)) if validate == "warn" else ()


def to_dict(kind: Kind, message: Message) -> dict[str, Any]:
    """Kubernetes' JSON form: ``apiVersion`` and ``kind`` first, empty things left out, integers as integers."""
    return {"apiVersion": kind.api_version, "kind": kind.name, **jsonform.write(message, skip=_HEADER)}


def to_json(kind: Kind, message: Message, *, indent: int | None = 2) -> str:
    return json.dumps(to_dict(kind, message), indent=indent, ensure_ascii=False)


def to_yaml(kind: Kind, message: Message) -> str:
    """One document, without ``---``."""
    return yaml_text(to_dict(kind, message))


def list_dict(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A ``List`` of objects in JSON form, as ``kubectl get -o json`` prints several."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": list(items)}


class _Dumper(yaml.SafeDumper):
    """Block lists indented like kubectl's, no aliases, text with line breaks as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=_style(value))


def _style(value: str) -> str | None:
    lines = value.split("\n")
    if not all(line.isprintable() for line in lines):
        return '"'  # control characters and Unicode's own line breaks survive as escapes only
    if len(lines) > 1:
        return "|"
    return None if documents.reads_as_string(value) else "'"


_Dumper.add_representer(str, _text)


def yaml_text(document: Mapping[str, Any]) -> str:
    """YAML that every YAML 1.1 and 1.2 reader reads alike."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
