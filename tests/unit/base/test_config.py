"""Configuration errors name the file and the field."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field

import pytest

from services.base import config


@dataclass(frozen=True)
class Inner:
    seconds: float = 1.0


@dataclass(frozen=True)
class Shape:
    name: str
    inner: Inner = field(default_factory=Inner)


def write(directory: pathlib.Path, text: str) -> pathlib.Path:
    path = directory / "process.toml"
    path.write_text(text)
    return path


def test_overrides_win_over_the_file(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, 'name = "a"\n[inner]\nseconds = 2.0\n')
    assert config.load(path, Shape, ("inner.seconds=3.5", "name=b")) == Shape("b", Inner(3.5))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = 3", r"Expected `str`, got `int` - at `\$.name`"),
        ("[inner]\nseconds = 1.0", r"missing required field `name`"),
        ('name = "a"\n[inner]\nseconds = "x"', r"at `\$.inner.seconds`"),
        ("name = ", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_field(tmp_path: pathlib.Path, text: str, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(config.ConfigError, match=complaint) as caught:
        config.load(path, Shape)
    assert str(path) in str(caught.value)


def test_an_unknown_field_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(config.ConfigError, match="nmae"):
        config.load(write(tmp_path, 'name = "a"\nnmae = "b"'), Shape)


def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(config.ConfigError, match=r"absent\.toml: cannot be read"):
        config.load(tmp_path / "absent.toml", Shape)
