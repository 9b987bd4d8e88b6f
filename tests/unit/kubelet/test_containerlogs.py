"""Writing CRI logs with rotation, and reading them back: tail, since, limit, timestamps, following."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable

import pytest

from services.base.clock import FakeClock
from services.kubelet import containerlogs
from services.kubelet.containerlogs import LogOptions, read
from services.kubelet.process.shim import LINE_BYTES_MAX, CriLog, timestamp

T0 = 1_700_000_000_000_000_000


def entry(number: int, text: str, tag: str = "F") -> bytes:
    return timestamp(T0 + number).decode().encode() + f" stdout {tag} {text}\n".encode()


async def shown(
    path: pathlib.Path,
    *,
    running: Callable[[], bool] = lambda: False,
    clock: FakeClock | None = None,
    **options: object,
) -> bytes:
    parts = [
        part
        async for part in read(path, LogOptions(**options), running=running, clock=clock or FakeClock())  # type: ignore[arg-type]
    ]
    return b"".join(parts)


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    """Seven lines in three files; line 3 in two parts, over the end of a file."""
    path = tmp_path / "0.log"
    (tmp_path / "0.log.2").write_bytes(entry(1, "one") + entry(2, "two"))
    (tmp_path / "0.log.1").write_bytes(entry(3, "thr", "P") + entry(4, "ee") + entry(5, "four"))
    path.write_bytes(entry(6, "five") + entry(7, "six") + entry(8, "rest", "P"))
    return path


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (None, b"one\ntwo\nthree\nfour\nfive\nsix\nrest"),
        (0, b""),
        (1, b"rest"),
        (2, b"six\nrest"),
        (4, b"four\nfive\nsix\nrest"),
        (5, b"three\nfour\nfive\nsix\nrest"),
        (6, b"two\nthree\nfour\nfive\nsix\nrest"),
        (100, b"one\ntwo\nthree\nfour\nfive\nsix\nrest"),
    ],
)
async def test_tail_counts_lines_over_all_files(log: pathlib.Path, tail: int | None, expected: bytes) -> None:
    assert await shown(log, tail_lines=tail) == expected


async def test_since_leaves_out_what_is_older(log: pathlib.Path) -> None:
    assert await shown(log, since=timestamp(T0 + 5)) == b"four\nfive\nsix\nrest"


async def test_a_limit_cuts_after_so_many_bytes(log: pathlib.Path) -> None:
    assert await shown(log, limit_bytes=10) == b"one\ntwo\nth"


async def test_timestamps_stand_at_the_beginning_of_each_line_only(log: pathlib.Path) -> None:
    lines = (await shown(log, timestamps=True)).splitlines()
    assert [line.split(b" ", 1)[1] for line in lines] == [b"one", b"two", b"three", b"four", b"five", b"six", b"rest"]
    assert lines[2].startswith(timestamp(T0 + 3))


async def test_a_line_that_is_being_written_is_shown_when_it_is_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(entry(1, "one") + entry(2, "two")[:-3])
    assert await shown(path) == b"one\n"


async def test_following_goes_on_over_rotations_until_the_container_has_ended(tmp_path: pathlib.Path) -> None:
    path, clock, alive, told = tmp_path / "0.log", FakeClock(), [True], bytearray()
    path.write_bytes(entry(1, "one"))

    async def follow() -> None:
        async for part in read(path, LogOptions(follow=True), running=lambda: alive[0], clock=clock):
            told.extend(part)

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await clock.advance(1.0)
        assert told == b"one\n"
        # Two rotations between two looks: nothing of them is lost.
        with path.open("ab") as file:
            file.write(entry(2, "two"))
        path.rename(tmp_path / "0.log.2")
        (tmp_path / "0.log.1").write_bytes(entry(3, "three"))
        path.write_bytes(entry(4, "four"))
        await clock.advance(1.0)
        assert told == b"one\ntwo\nthree\nfour\n"
        with path.open("ab") as file:
            file.write(entry(5, "last"))
        alive[0] = False
        await clock.advance(1.0)
    assert told == b"one\ntwo\nthree\nfour\nlast\n"


async def test_what_is_written_between_the_end_of_a_file_and_its_rotation_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looks = tmp_path / "0.log", [0]
    path.write_bytes(entry(1, "one"))
    files = containerlogs._Cursor._files

    def while_they_are_looked_for(cursor: containerlogs._Cursor) -> list[pathlib.Path]:
        looks[0] += 1
        if looks[0] == 2:  # The first is for where to begin; now the end of the only one has been read.
            with path.open("ab") as file:
                file.write(entry(2, "two"))
            path.rename(tmp_path / "0.log.1")
            path.write_bytes(entry(3, "three"))
        return files(cursor)

    monkeypatch.setattr(containerlogs._Cursor, "_files", while_they_are_looked_for)
    assert await shown(path) == b"one\ntwo\nthree\n"


async def test_following_ends_at_the_limit(log: pathlib.Path) -> None:
    assert await shown(log, running=lambda: True, follow=True, limit_bytes=3) == b"one"


async def test_what_is_written_is_read_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    log = CriLog(path)
    log.write("stdout", b"50%\r100%\none\ntw")
    log.write("stderr", b"oops\n")
    log.write("stdout", b"o\n\nlong " + b"x" * LINE_BYTES_MAX * 2 + b"\nrest")
    log.close()
    text = await shown(path)
    assert text == b"50%\r100%\none\noops\ntwo\n\nlong " + b"x" * LINE_BYTES_MAX * 2 + b"\nrest"
    assert max(len(line) for line in path.read_bytes().splitlines()) < LINE_BYTES_MAX + 60


def test_rotation_keeps_the_newest_files_of_the_size(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    log = CriLog(path, bytes_max=1000, files_max=3)
    for number in range(200):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["0.log", "0.log.1", "0.log.2"]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in files)
    lines = asyncio.run(shown(path)).splitlines()
    assert lines == [b"line %d" % number for number in range(200 - len(lines), 200)]
    assert len(lines) > 30
