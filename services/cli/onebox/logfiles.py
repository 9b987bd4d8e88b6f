"""Log files of components: appended, kept from growing without end, read by ``ursa logs``."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import BinaryIO

SIZE_MAX = 16 * 1024**2
KEPT = 2
BLOCK = 64 * 1024


def open_for(path: pathlib.Path) -> BinaryIO:
    """The log to append to, after turning it over when it has grown past ``SIZE_MAX``."""
    if _size(path) > SIZE_MAX:
        _shift(path)
        path.rename(_older(path, 1))
    return path.open("ab")


def trim(path: pathlib.Path, size_max: int = 4 * SIZE_MAX) -> bool:
    """Turn over a log that a running process holds open: copied, then emptied in place (it is opened for appending, so
    the process goes on at the new end; lines written in between are lost). Whether it was done."""
    if _size(path) <= size_max:
        return False
    _shift(path)
    shutil.copyfile(path, _older(path, 1))
    os.truncate(path, 0)
    return True


def tail(path: pathlib.Path, lines: int) -> tuple[bytes, int]:
    """The last ``lines`` lines (negative: all) and the position after them. Raises ``OSError``."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if lines < 0:
            file.seek(0)
            return file.read(end), end
        if lines == 0:
            return b"", end
        start, data = end, b""
        while start > 0 and data.count(b"\n") <= lines:
            step = min(BLOCK, start)
            start -= step
            file.seek(start)
            data = file.read(step) + data
    return b"".join(data.splitlines(keepends=True)[-lines:]), end


def since(path: pathlib.Path, position: int) -> Iterator[tuple[bytes, int]]:
    """What was appended after ``position``; a log that became shorter was turned over and is read from its start."""
    if _size(path) < position:
        position = 0
    with path.open("rb") as file:
        file.seek(position)
        while data := file.read(BLOCK):
            position += len(data)
            yield data, position


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _older(path: pathlib.Path, generation: int) -> pathlib.Path:
    return path.with_name(f"{path.name}.{generation}")


def _shift(path: pathlib.Path) -> None:
    for generation in range(KEPT, 1, -1):
        newer = _older(path, generation - 1)
        if newer.exists():
            newer.replace(_older(path, generation))
