"""Where two messages of one type differ, as JSON paths."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def difference_paths(new: Message, old: Message, path: str) -> list[str]:
    """The deepest paths at which the two differ; a list of another length counts as a whole."""
    if new == old:
        return []
    found: list[str] = []
    for field in new.DESCRIPTOR.fields:
        here = f"{path}.{field.json_name}" if path else field.json_name
        found += _field(field, getattr(new, field.name), getattr(old, field.name), here, _presence(new, old, field))
    return found or [path]


def _presence(new: Message, old: Message, field: Any) -> bool:
    """One has the field and the other has not."""
    return field.has_presence and new.HasField(field.name) != old.HasField(field.name)


def _field(field: Any, new: Any, old: Any, path: str, presence: bool) -> list[str]:
    if presence:
        return [path]
    if new == old:
        return []
    if field.message_type is None:
        return [path]
    if field.message_type.GetOptions().map_entry:
        keys = sorted({*new, *old})
        return [f"{path}[{key}]" for key in keys if (key in new) != (key in old) or new[key] != old[key]]
    if not field.is_repeated:
        return difference_paths(new, old, path)
    if len(new) != len(old):
        return [path]
    return [
        found
        for index, (mine, theirs) in enumerate(zip(new, old, strict=True))
        for found in difference_paths(mine, theirs, f"{path}[{index}]")
    ]
