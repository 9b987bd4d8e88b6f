"""What is believed of which etcd."""

from __future__ import annotations

import pytest

from services.storage.etcd import versions


@pytest.mark.parametrize(
    ("members", "trusted"),
    [
        (["3.4.24"], False),
        (["3.4.25"], True),
        (["3.5.7"], False),
        (["3.5.8"], True),
        (["3.5.16", "3.5.7"], False),
        (["3.6.0"], True),
        (["4.0.0-rc.1"], True),
        (["3.3.27"], False),
        ([""], False),
        (["unknown"], False),
        ([], False),
    ],
)
def test_progress_is_trusted_if_every_member_is_new_enough(members: list[str], trusted: bool) -> None:
    assert versions.progress_trusted(members) is trusted


@pytest.mark.parametrize(("version", "bad"), [("3.5.0", True), ("3.5.2", True), ("3.5.3", False), ("3.4.0", False)])
def test_versions_that_lose_writes_are_warned_about(version: str, bad: bool) -> None:
    assert bool(versions.warning(version)) is bad
