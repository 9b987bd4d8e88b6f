"""Configuration: one TOML file per process, parsed once into frozen dataclasses; unknown fields are errors."""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib
import typing
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file and the field."""


def load(path: str | pathlib.Path, shape: type[T], overrides: tuple[str, ...] = ()) -> T:
    """Read ``path`` into ``shape`` (a dataclass or ``msgspec.Struct`` with ``forbid_unknown_fields``).

    ``overrides`` are ``section.field=value`` with the value in TOML syntax (a bare word is taken as a string).
    Raises ``ConfigError``.
    """
    file = pathlib.Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as failure:
        raise ConfigError(f"{file}: cannot be read: {failure.strerror}") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{file}: not TOML: {failure}") from failure
    for override in overrides:
        _override(document, override)
    return convert(document, shape, source=str(file))


def convert(document: dict[str, Any], shape: type[T], *, source: str) -> T:
    """Turn a parsed document into ``shape``; ``source`` names it in errors. Raises ``ConfigError``."""
    unknown = _unknown_field(document, shape, "$")
    if unknown:
        raise ConfigError(f"{source}: unknown field {unknown}")
    try:
        return msgspec.convert(document, shape, strict=True)
    except msgspec.ValidationError as failure:
        raise ConfigError(f"{source}: {failure}") from failure


def _unknown_field(value: Any, shape: Any, path: str) -> str:
    """The path of the first key that no dataclass field takes (msgspec ignores those of dataclasses), or ""."""
    if isinstance(value, list):
        arguments = typing.get_args(shape)
        found = (_unknown_field(item, arguments[0], f"{path}[{i}]") for i, item in enumerate(value) if arguments)
        return next(filter(None, found), "")
    if not isinstance(value, dict) or not dataclasses.is_dataclass(shape):
        return ""
    hints = typing.get_type_hints(shape)
    for key, inner in value.items():
        if key not in hints:
            return f"{path}.{key}; known here: {', '.join(sorted(hints))}"
        unknown = _unknown_field(inner, hints[key], f"{path}.{key}")
        if unknown:
            return unknown
    return ""


def _override(document: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"--set {override}: want field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, field = path.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise ConfigError(f"--set {override}: {section} is no section")
    document[field] = value
