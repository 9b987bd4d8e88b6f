"""Template files of objects: Go template, then manifest, then a message that the servers take.

Upstream decodes templates with Go's JSON, which finds ``NodeAffinityPolicy`` when ``nodeAffinityPolicy`` is meant;
public manifests do not, so the keys are put right here.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from services.api import defaults, documents, manifests, validation
from services.api.kinds import Kind, UnknownKind, kind_of
from services.bench.scheduler import gotemplate
from services.bench.scheduler.errors import FileError, NotSupported


class Template:
    """A file. ``varies``: its text depends on values, so that every object of it may differ."""

    def __init__(self, path: pathlib.Path, text: str) -> None:
        self.path = path
        self._text = text
        self.varies = "{{" in text

    def manifest(self, values: Mapping[str, Any]) -> manifests.Manifest:
        """Raises ``FileError``, ``NotSupported`` for a kind or field that Ursa does not have."""
        try:
            text = gotemplate.render(self._text, values) if self.varies else self._text
            found = [document for _, document in documents.load(text)]
        except (FileError, documents.DocumentError) as wrong:
            raise FileError(f"{self.path.name}: {wrong}") from wrong
        if len(found) != 1 or not isinstance(found[0], Mapping):
            raise FileError(f"{self.path.name}: want one object, got {len(found)} documents")
        return _manifest(found[0], self.path.name)

    def message(self, kind: Kind, values: Mapping[str, Any]) -> Any:
        """The object, which must be of ``kind``."""
        manifest = self.manifest(values)
        if manifest.kind is not kind:
            raise FileError(f"{self.path.name}: want a {kind.name}, got a {manifest.kind.name}")
        return manifest.object

    def check(self, kind: Kind | None, values: Mapping[str, Any]) -> None:
        """Raises ``NotSupported`` when Ursa lacks what the object needs, ``FileError`` when it is none."""
        manifest = self.manifest(values)
        if kind is not None and manifest.kind is not kind:
            raise FileError(f"{self.path.name}: want a {kind.name}, got a {manifest.kind.name}")
        candidate = type(manifest.object)()
        candidate.CopyFrom(manifest.object)
        if manifest.kind.tenant_scoped:
            candidate.metadata.tenant = "bench"
        if manifest.kind.namespaced:
            candidate.metadata.namespace = "bench"
        if not candidate.metadata.name and not candidate.metadata.generate_name:
            candidate.metadata.name = "bench"
        defaults.apply(manifest.kind, candidate)
        faults = validation.validate_create(manifest.kind, candidate)
        if faults:
            raise NotSupported(f"{self.path.name}: {faults[0]}")


def load(path: pathlib.Path) -> Template:
    """The template at ``path``. Raises ``FileError``."""
    try:
        return Template(path, path.read_text())
    except OSError as failure:
        raise FileError(f"{path}: {failure.strerror}") from failure


def _manifest(document: Mapping[str, Any], source: str) -> manifests.Manifest:
    api_version, name = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    try:
        kind = kind_of(api_version, name)
    except UnknownKind:
        raise NotSupported(f"{source}: Ursa has no kind {name} ({api_version})") from None
    try:
        return manifests.from_dict(_matched(document, kind.message.DESCRIPTOR))
    except manifests.ManifestError as wrong:
        refused = NotSupported if any(fault.unknown for fault in wrong.faults) else FileError
        raise refused(f"{source}: {'; '.join(map(str, wrong.faults))}") from wrong


def _matched(value: Any, descriptor: Any) -> Any:
    """The document with every key in the case that its field has."""
    if not isinstance(value, Mapping):
        return value
    fields = _fields(descriptor)
    result: dict[str, Any] = {}
    for key, item in value.items():
        name, target = fields.get(str(key).lower(), (key, None)) if key not in _names(descriptor) else (key, None)
        target = target or _names(descriptor).get(key)
        result[name] = _matched_item(item, target) if target is not None else item
    return result


def _matched_item(item: Any, target: FieldDescriptor) -> Any:
    nested = target.message_type
    if nested is None or nested.GetOptions().map_entry or nested.full_name.startswith("google.protobuf."):
        return item
    if isinstance(item, list):
        return [_matched(element, nested) for element in item]
    return _matched(item, nested)


@functools.cache
def _names(descriptor: Any) -> dict[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields}


@functools.cache
def _fields(descriptor: Any) -> dict[str, tuple[str, FieldDescriptor]]:
    return {field.json_name.lower(): (field.json_name, field) for field in descriptor.fields}
