"""Configuration: one TOML file per process, parsed once into frozen dataclasses; unknown fields are errors."""

from __future__ import annotations

import pathlib
import tomllib
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
    try:
        return msgspec.convert(document, shape, strict=True)
    except msgspec.ValidationError as failure:
        raise ConfigError(f"{source}: {failure}") from failure


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
