"""Which etcd is used, and what is said about it."""

from __future__ import annotations

import pathlib

import pytest

from services.cli.onebox import etcd_binary
from services.cli.onebox.etcd_binary import Etcd, parse_version, trusts_progress


@pytest.mark.parametrize(
    ("version", "trusted"),
    [
        ((3, 4, 23), False),
        ((3, 4, 24), False),
        ((3, 4, 25), True),
        ((3, 5, 0), False),
        ((3, 5, 7), False),
        ((3, 5, 8), True),
        ((3, 6, 0), True),
    ],
)
def test_progress_notifications_are_trusted_from_the_fix_on(version: tuple[int, int, int], trusted: bool) -> None:
    assert trusts_progress(version) is trusted
    assert any("progress" in warning for warning in Etcd("etcd", version, "test").warnings()) is not trusted


@pytest.mark.parametrize(
    ("version", "warned"), [((3, 5, 0), True), ((3, 5, 2), True), ((3, 5, 3), False), ((3, 4, 30), False)]
)
def test_versions_that_lose_writes_are_warned_about(version: tuple[int, int, int], warned: bool) -> None:
    assert any("lose committed writes" in text for text in Etcd("etcd", version, "test").warnings()) is warned


def test_the_version_is_read_from_etcds_own_words() -> None:
    assert parse_version("etcd Version: 3.4.23\nGit SHA: x\n") == (3, 4, 23)
    assert parse_version("no etcd") is None


def program(directory: pathlib.Path, text: str) -> pathlib.Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "etcd"
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


def test_the_one_on_the_path_comes_first(tmp_path: pathlib.Path) -> None:
    found = program(tmp_path / "bin", "etcd Version: 3.5.21")
    program(tmp_path / "tools" / "etcd-debian" / "usr" / "bin", "etcd Version: 3.4.23")
    etcd = etcd_binary.find(lambda _: None, path=str(tmp_path / "bin"), cache=tmp_path / "tools")
    assert (etcd.path, etcd.version, etcd.warnings()) == (str(found), (3, 5, 21), [])


def test_one_that_is_too_old_is_passed_over(tmp_path: pathlib.Path) -> None:
    program(tmp_path / "bin", "etcd Version: 3.3.25")
    program(tmp_path / "tools" / "etcd-debian" / "usr" / "bin", "etcd Version: 3.4.23")
    etcd = etcd_binary.find(lambda _: None, path=str(tmp_path / "bin"), cache=tmp_path / "tools")
    assert etcd.version == (3, 4, 23) and "Debian" in etcd.origin


def test_with_none_at_all_the_error_says_what_to_do(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(etcd_binary.sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(etcd_binary.NoEtcd) as refused:
        etcd_binary.find(lambda _: None, cache=tmp_path / "tools")
    assert "apt-get install etcd-server" in refused.value.hint
