"""Patches, applied to an object's Kubernetes JSON form: merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import grpc
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
        if "\\u" in text:
            # Half a surrogate pair is a str in Python, but text in no encoding: nothing could store or report it.
            json.dumps(document, ensure_ascii=False).encode()
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

    def apply(target: dict[str, Any]) -> dict[str, Any]:
        try:
            merged: dict[str, Any] = merge(target, document)
        except RecursionError as failure:
            raise _unprocessable("nested too deeply") from failure
        return merged

    return apply


def _json_patch(document: Any) -> Patch:
    if not isinstance(document, list) or not all(isinstance(operation, dict) for operation in document):
        raise status.bad_field("patch", "a JSON patch is an array of operations")
    if len(document) > limits.PATCH_OPERATIONS_MAX:
        raise status.bad_field("patch", f"{len(document)} operations, the limit is {limits.PATCH_OPERATIONS_MAX}")
    try:
        operations = [jsonpatch.JsonPatch([operation]) for operation in document]
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as failure:
        raise status.bad_field("patch", str(failure)) from failure

    def apply(target: dict[str, Any]) -> dict[str, Any]:
        try:
            result = _operated(copy.deepcopy(target), document, operations)
        except jsonpatch.JsonPatchTestFailed as failure:
            raise _unprocessable(f"a test of the patch failed: {failure}") from failure
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as failure:
            raise _unprocessable(f"the patch does not apply: {failure}") from failure
        except (TypeError, ValueError, LookupError) as failure:
            raise _unprocessable(f"the patch does not apply: {failure}") from failure
        except RecursionError as failure:
            raise _unprocessable("the patch does not apply: nested too deeply") from failure
        if not isinstance(result, dict):
            raise _unprocessable("the patch leaves no object")
        return result

    return apply


def _operated(result: Any, document: list[dict[str, Any]], operations: list[Any]) -> Any:
    """``result`` after each of ``operations``, which are those of ``document``; it is changed in place."""
    left_bytes = limits.PATCH_COPY_BYTES_MAX
    for index, (operation, patch) in enumerate(zip(document, operations, strict=True)):
        if operation["op"] == "copy" and isinstance(operation.get("from"), str):
            # Copies of copies double the document each time: a patch of 1 kB could ask for gigabytes.
            left_bytes -= _size_bytes(jsonpatch.JsonPointer(operation["from"]).resolve(result), left_bytes)
            if left_bytes < 0:
                raise _copies_too_much(index)
        result = patch.apply(result, in_place=True)
    return result


def _size_bytes(value: Any, enough_bytes: int) -> int:
    """About the bytes of ``value`` as JSON; no further than to more than ``enough_bytes``."""
    size_bytes = 0
    waiting = [value]
    while waiting and size_bytes <= enough_bytes:
        item = waiting.pop()
        # A little more than a number or an empty list takes: each costs its time to copy.
        size_bytes += 8
        if isinstance(item, str):
            size_bytes += len(item)
        elif isinstance(item, dict):
            size_bytes += sum(map(len, item)) + 4 * len(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return size_bytes


def _copies_too_much(index: int) -> StatusError:
    limit_bytes = limits.PATCH_COPY_BYTES_MAX
    message = f"what the copy operations up to this one copy is more than {limit_bytes} bytes"
    return StatusError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RequestEntityTooLarge",
        f"patch[{index}]: {message}",
        violations=(Violation(f"patch[{index}]", message),),
        metadata={"limitBytes": str(limit_bytes)},
    )


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
    found = type(old)()
    found.CopyFrom(old)
    found.metadata.resource_version = revision
    return found
