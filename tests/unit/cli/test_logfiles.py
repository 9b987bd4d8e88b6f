"""Log files: the end of them, what is added, and turning them over."""

from __future__ import annotations

import pathlib

from services.cli.onebox import logfiles


def test_the_last_lines(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(50_000)))
    assert logfiles.tail(path, 2)[0] == b"line 49998\nline 49999\n"
    assert logfiles.tail(path, 0) == (b"", path.stat().st_size)
    assert len(logfiles.tail(path, -1)[0]) == path.stat().st_size
    assert logfiles.tail(path, 20_000)[0].startswith(b"line 30000\n")


def test_what_is_added_and_what_follows_a_turn_over(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n")
    _, position = logfiles.tail(path, 1)
    with path.open("ab") as file:
        file.write(b"two\n")
    assert list(logfiles.since(path, position)) == [(b"two\n", 8)]
    path.write_bytes(b"new\n")
    assert list(logfiles.since(path, 8)) == [(b"new\n", 4)]


def test_a_log_of_a_running_process_is_turned_over_in_place(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        for generation in (b"1", b"2", b"3"):
            writer.write(generation * 100)
            assert logfiles.trim(path, size_max=50)
        assert not logfiles.trim(path, size_max=50)
        writer.write(b"now")
    assert path.read_bytes() == b"now"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert (tmp_path / "a.log.1").read_bytes() == b"3" * 100
