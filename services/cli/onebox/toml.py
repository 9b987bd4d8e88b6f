"""Writing TOML: the few shapes that component configurations have (the standard library only reads it)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def dumps(document: Mapping[str, Any]) -> str:
    """Scalars, lists, tables and lists of tables, in that order within each table. Raises ``TypeError`` for others."""
    return "\n".join(_table(document, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    nested = {key: value for key, value in table.items() if _is_table(value) or _is_table_list(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in nested]
    for key, value in nested.items():
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        if _is_table(value):
            lines += ["", f"[{name}]", *_table(value, here)]
        else:
            for item in value:
                lines += ["", f"[[{name}]]", *_table(item, here)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_table_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(_is_table, value))


def _key(key: str) -> str:
    bare = key and all(character.isascii() and (character.isalnum() or character in "-_") for character in key)
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            # A JSON string is a TOML basic string, except for DEL, which JSON leaves as it is.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case _ if isinstance(value, Sequence):
            return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"no TOML form for {type(value).__name__}")
