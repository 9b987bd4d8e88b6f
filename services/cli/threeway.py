"""The merge behind ``apply``: what the file said last time, what it says now, and what the server has.

``desired`` computes the object that should be there, ``patch`` the JSON merge patch (RFC 7386) that leads to it. Lists
are merged item by item (by name, else by being covered), because the server and other writers add defaults and items
of their own: replacing a list would take those away. Pure functions of JSON values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Json = Any


def desired(last: Json, new: Json, live: Json) -> Json:
    """``live`` with everything of ``new`` in it, and without what was in ``last`` and is not in ``new``."""
    if isinstance(new, Mapping) and isinstance(live, Mapping):
        return _merge_objects(last if isinstance(last, Mapping) else {}, new, live)
    if _is_list(new) and _is_list(live):
        return _merge_lists(last if _is_list(last) else [], new, live)
    return new


def patch(live: Json, wanted: Json) -> dict[str, Json]:
    """The merge patch from ``live`` to ``wanted``, both objects; empty when they are equal."""
    changes: dict[str, Json] = {key: None for key in live if key not in wanted}
    for key, value in wanted.items():
        if key not in live:
            changes[key] = value
        elif value != live[key]:
            both = isinstance(value, Mapping) and isinstance(live[key], Mapping)
            changes[key] = patch(live[key], value) if both else value
    return changes


def annotated(new: Mapping[str, Json]) -> dict[str, Json]:
    """The object of a file with the annotation that says what it was applied with."""
    metadata = dict(new.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    bare = {**new, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
    if not annotations:
        bare["metadata"].pop("annotations", None)
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    return {**bare, "metadata": {**bare["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}}


def last_applied(live: Mapping[str, Json]) -> dict[str, Json]:
    """What the live object was applied with; empty when it was not (or the annotation is broken)."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _merge_objects(last: Mapping[str, Json], new: Mapping[str, Json], live: Mapping[str, Json]) -> dict[str, Json]:
    merged = {key: value for key, value in live.items() if key in new or key not in last}
    for key, value in new.items():
        merged[key] = desired(last.get(key), value, live[key]) if key in live else value
    return merged


def _merge_lists(last: Sequence[Json], new: Sequence[Json], live: Sequence[Json]) -> list[Json]:
    left = list(live)
    unwanted = list(last)
    merged = []
    for item in new:
        before = _counterpart(item, unwanted)
        if before is not None:
            unwanted.remove(before)
        match = _counterpart(item, left)
        if match is None:
            merged.append(item)
            continue
        left.remove(match)
        merged.append(desired(before, item, match))
    # What is left was either applied earlier (and is no longer wanted) or added by others (and stays).
    for item in unwanted:
        gone = _counterpart(item, left)
        if gone is not None:
            left.remove(gone)
    return merged + left


def _counterpart(item: Json, others: Sequence[Json]) -> Json | None:
    """The element of ``others`` that is ``item``: of the same name, else one that covers it."""
    if isinstance(item, Mapping) and "name" in item:
        named = [other for other in others if isinstance(other, Mapping) and other.get("name") == item["name"]]
        return named[0] if named else None
    return next((other for other in others if covers(other, item)), None)


def covers(whole: Json, part: Json) -> bool:
    """Whether everything said in ``part`` is said in ``whole``, which may say more (defaults)."""
    if isinstance(whole, Mapping) and isinstance(part, Mapping):
        return all(key in whole and covers(whole[key], value) for key, value in part.items())
    if _is_list(whole) and _is_list(part):
        return len(whole) == len(part) and all(covers(one, other) for one, other in zip(whole, part, strict=True))
    return bool(whole == part)


def _is_list(value: Json) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def changes(live: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    """The merge patch that brings ``live`` to what a file says; empty when it is there already. The annotation is
    rewritten only when what the file says has changed; ``status`` is the server's and never touched."""
    wanted = {key: value for key, value in annotated(new).items() if key != "status"}
    last = last_applied(live)
    target = desired(last, wanted, live)
    before = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    result = patch(live, target)
    same_file = before is not None and json.loads(wanted["metadata"]["annotations"][LAST_APPLIED]) == last
    if same_file:
        target["metadata"]["annotations"][LAST_APPLIED] = before
        result = patch(live, target)
    for name in ("apiVersion", "kind", "status"):
        result.pop(name, None)
    return result
