"""Reading a container's log: CRI lines in rotated files in, what the container printed out."""

from __future__ import annotations

import os
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO, NamedTuple

from services.base.clock import Clock

PART_BYTES = 64 * 1024
FOLLOW_PAUSE_S = 0.1
_ROTATED_MAX = 9


class LogOptions(NamedTuple):
    """``tail_lines``, ``limit_bytes`` and ``since`` (as log lines have it) None: all of it."""

    follow: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: bytes | None = None
    timestamps: bool = False


async def read(
    path: pathlib.Path, options: LogOptions, *, running: Callable[[], bool], clock: Clock
) -> AsyncIterator[bytes]:
    """What the container printed, in parts of whole lines unless one is longer. With ``follow`` until it no longer runs
    and all is told. Files that vanish meanwhile (of a pod that is forgotten) end it."""
    shown = _Shown(options)
    cursor = _Cursor(path, options.tail_lines)
    try:
        while not shown.is_full():
            # Asked before reading: what was written before the end is then read.
            more = options.follow and running()
            read_any = False
            for data in cursor.read():
                read_any = True
                if part := shown.of(data):
                    yield part
                if shown.is_full():
                    return
            if not more:
                return
            if not read_any:
                await clock.sleep(FOLLOW_PAUSE_S)
    finally:
        cursor.close()


class _Shown:
    """Turns entries into what is shown of them."""

    def __init__(self, options: LogOptions) -> None:
        self._since = options.since
        self._timestamps = options.timestamps
        self._left = options.limit_bytes
        self._line_begins = True

    def is_full(self) -> bool:
        """The limit is reached."""
        return self._left is not None and self._left <= 0

    def of(self, entries: bytes) -> bytes:
        text = b"".join(self._entries(entries))
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text

    def _entries(self, entries: bytes) -> Iterator[bytes]:
        for entry in entries.split(b"\n"):
            fields = entry.split(b" ", 3)
            if len(fields) < 4:
                continue  # Cut short by a full disk.
            stamp, _, tag, text = fields
            if self._since is not None and stamp < self._since:
                continue
            if self._timestamps and self._line_begins:
                yield stamp + b" "
            yield text
            self._line_begins = tag == b"F"
            if self._line_begins:
                yield b"\n"


class _Cursor:
    """A place in a log of several files, from the oldest to the one that is written now."""

    def __init__(self, path: pathlib.Path, tail_lines: int | None) -> None:
        self._path = path
        self._rest = b""
        self._file: BinaryIO | None = None
        if tail_lines is None:
            files = self._files()
            self._file = _open(files[-1]) if files else None
        else:
            self._seek_tail(tail_lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> Iterator[bytes]:
        """Whole entries that there are now."""
        last_look = False
        while self._file is not None:
            data = self._file.read(PART_BYTES)
            if data:
                data = self._rest + data
                end = data.rfind(b"\n") + 1
                self._rest = data[end:]
                if end:
                    yield data[:end]
                continue
            following = self._following()
            if following is None:
                return
            # More may have come after its end was read and before it was rotated away.
            last_look = not last_look
            if last_look:
                continue
            opened = _open(following)
            if opened is None:
                return
            self._file.close()
            self._file, self._rest = opened, b""

    def _following(self) -> pathlib.Path | None:
        """The file that came after this one; None: this is the newest."""
        assert self._file is not None
        here = os.fstat(self._file.fileno()).st_ino
        newer = files = self._files()
        for number, path in enumerate(files):
            if _inode(path) == here:
                newer = files[:number]
                break
        return newer[-1] if newer else None

    def _files(self) -> list[pathlib.Path]:
        """From the newest to the oldest."""
        rotated = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, _ROTATED_MAX + 1)]
        return [path for path in (self._path, *rotated) if path.exists()]

    def _seek_tail(self, lines: int) -> None:
        for path in self._files():
            opened = _open(path)
            if opened is None:
                continue
            offset, found = _tail(opened.read(), lines)
            opened.seek(offset)
            if self._file is not None:
                self._file.close()
            self._file = opened
            lines -= found
            if lines <= 0:
                return


def _tail(data: bytes, lines: int) -> tuple[int, int]:
    """Where the last ``lines`` lines of ``data`` begin, and how many there are from there on."""
    end = data.rfind(b"\n") + 1
    offset, found = end, 0
    while offset and found < lines:
        offset = data.rfind(b"\n", 0, offset - 1) + 1
        before = data[data.rfind(b"\n", 0, max(0, offset - 1)) + 1 : max(0, offset - 1)]
        # A line begins where the entry before it ended one.
        if not before or before.split(b" ", 3)[2:3] == [b"F"]:
            found += 1
    return offset, found


def _open(path: pathlib.Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except OSError:
        return None


def _inode(path: pathlib.Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
