"""Patches, applied to an object's Kubernetes JSON form: merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonpatch

from services.api import manifests
from services.api.kinds import Kind
from services.apiserver import limits
from services.rpc import status
from services.rpc.status import StatusError, Violation

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Patch = Callable[[dict[str, Any]], dict[str, Any]]


def parse(patch_type: str, text: str) -> Patch:
    """A function from an object's JSON form to the patched one; it may raise ``StatusError``, as this may."""
    if patch_type not in (MERGE_PATCH, JSON_PATCH):
        raise status.bad_field("patch_type", f'"{patch_type}" is none of {MERGE_PATCH}, {JSON_PATCH}')
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise status.bad_field("patch", f"not JSON: {failure}") from failure
    return _merge_patch(document) if patch_type == MERGE_PATCH else _json_patch(document)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, an object merges, anything else replaces. ``target`` is not changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _merge_patch(document: Any) -> Patch:
    if not isinstance(document, dict):
        raise status.bad_field("patch", "a merge patch is a JSON object")
    return lambda target: merge(target, document)


def _json_patch(document: Any) -> Patch:
    if not isinstance(document, list) or not all(isinstance(operation, dict) for operation in document):
        raise status.bad_field("patch", "a JSON patch is an array of operations")
    if len(document) > limits.PATCH_OPERATIONS_MAX:
        raise status.bad_field("patch", f"{len(document)} operations, the limit is {limits.PATCH_OPERATIONS_MAX}")
    try:
        patch = jsonpatch.JsonPatch(document)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as failure:
        raise status.bad_field("patch", str(failure)) from failure

    def apply(target: dict[str, Any]) -> dict[str, Any]:
        try:
            result = patch.apply(target)
        except jsonpatch.JsonPatchTestFailed as failure:
            raise _unprocessable(f"a test of the patch failed: {failure}") from failure
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as failure:
            raise _unprocessable(f"the patch does not apply: {failure}") from failure
        if not isinstance(result, dict):
            raise _unprocessable("the patch leaves no object")
        return result

    return apply


def _unprocessable(message: str) -> StatusError:
    return status.bad_field("patch", message)


def patched(kind: Kind, old: Any, revision: int, patch: Patch) -> Any:
    """``old`` (at ``revision``) with ``patch`` applied to its JSON form, strictly parsed. Raises ``StatusError``."""
    old = _at(old, revision)
    form = patch(manifests.to_dict(kind, old))
    try:
        new: Any = manifests.parse_json(kind, form)
    except manifests.ManifestError as failure:
        raise status.invalid(
            [Violation(failure.path, failure.message)], subject=f'{kind.resource} "{old.metadata.name}"'
        ) from failure
    moved = [
        Violation(f"metadata.{field}", "field is immutable")
        for field in ("name", "namespace", "tenant")
        if getattr(new.metadata, field) != getattr(old.metadata, field)
    ]
    if moved:
        raise status.invalid(moved, subject=f'{kind.resource} "{old.metadata.name}"')
    new.ClearField("api_version")
    new.ClearField("kind")
    return new


def _at(old: Any, revision: int) -> Any:
    # With its resource version, so that a patch can test it.
    copy = type(old)()
    copy.CopyFrom(old)
    copy.metadata.resource_version = revision
    return copy
