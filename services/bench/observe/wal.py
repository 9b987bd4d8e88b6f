"""How much an etcd has written to its write-ahead log, byte by byte.

A segment of the log is allocated in full (64 MB) when it is begun, so that its size says nothing; where etcd writes
next is the file position of its open descriptor (``/proc/PID/fdinfo``). A segment that is full is cut to what it holds,
and its size says it from then on. That is exact with every version; ``etcd_disk_wal_write_bytes_total`` is not: etcd
3.4 counts each record twice (3.4.23: 2.000 times the growth of the file).
Source: etcd ``server/wal/wal.go`` (``cut``), ``wal/encoder.go``; proc(5).
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import NamedTuple


class Position(NamedTuple):
    """``segment``: the number of the segment that is written now; ``offset``: bytes of it that are."""

    segment: int
    offset: int


class Segments(NamedTuple):
    """What one look at a log shows: where it is written, and the sizes of its full segments, by number."""

    tail: Position
    full: Mapping[int, int]


def growth(before: Segments, after: Segments) -> int:
    """Bytes written between two looks. Segments that were begun, filled and removed again in between are not seen:
    etcd keeps five, so that looks must not be more than 256 MB apart."""
    if after.tail.segment < before.tail.segment:
        # Another log: the data directory was emptied.
        return after.tail.offset
    if after.tail.segment == before.tail.segment:
        return max(0, after.tail.offset - before.tail.offset)
    filled = sum(size for number, size in after.full.items() if before.tail.segment <= number < after.tail.segment)
    counted_before = before.tail.offset if before.tail.segment in after.full else 0
    return filled - counted_before + after.tail.offset


class Log:
    """The log of a running etcd; its descriptors are looked through again only when a segment was begun."""

    def __init__(self, pid: int) -> None:
        self._process = pathlib.Path(f"/proc/{pid}")
        self._descriptor = ""
        self._path = pathlib.Path()

    def look(self) -> Segments | None:
        """None if the process is gone, is not ours to look at, or has no log open."""
        try:
            if not self._is_open():
                self._find()
            if not self._descriptor:
                return None
            files = {_number(path): path for path in self._path.parent.glob("*.wal")}
            if max(files) != _number(self._path):
                self._find()
            tail = _number(self._path)
            full = {number: path.stat().st_size for number, path in files.items() if number < tail}
            return Segments(Position(tail, self._offset()), full)
        except (OSError, ValueError):
            return None

    def _is_open(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._descriptor) and (self._process / "fd" / self._descriptor).readlink() == self._path
        return False

    def _find(self) -> None:
        self._descriptor = ""
        for entry in (self._process / "fd").iterdir():
            with contextlib.suppress(OSError):
                path = entry.readlink()
                if path.suffix == ".wal" and (not self._descriptor or _number(path) > _number(self._path)):
                    self._descriptor, self._path = entry.name, path

    def _offset(self) -> int:
        text = (self._process / "fdinfo" / self._descriptor).read_text()
        return int(text.split("pos:", 1)[1].split(None, 1)[0])


def _number(path: pathlib.Path) -> int:
    """``…/0000000000000002-000000000001d4c0.wal`` is segment 2."""
    return int(path.name.partition("-")[0], 16)
