"""Which etcd versions can be believed in what. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# etcd#15220: before these, a progress response could overtake an event of the same stream.
_PROGRESS_TRUSTED = {(3, 4): 25, (3, 5): 8}
# etcd#13766 and others: these can lose acknowledged writes on a crash.
_LOSE_WRITES = {(3, 5): range(3)}


def parse(version: str) -> tuple[int, int, int]:
    """``3.5.16``; (0, 0, 0) if it is nothing like that."""
    parts = version.partition("-")[0].split(".")
    if len(parts) < 3 or not all(part.isdecimal() for part in parts[:3]):
        return 0, 0, 0
    return int(parts[0]), int(parts[1]), int(parts[2])


def progress_trusted(members: Iterable[str]) -> bool:
    """Every member's version gives progress responses that never overtake an event. False if any is unknown."""
    versions = [parse(version) for version in members]
    return bool(versions) and all(_trusted(version) for version in versions)


def _trusted(version: tuple[int, int, int]) -> bool:
    major, minor, patch = version
    if (major, minor) > max(_PROGRESS_TRUSTED):
        return True
    least = _PROGRESS_TRUSTED.get((major, minor))
    return least is not None and patch >= least


def warning(version: str) -> str:
    """Why this version should not be run; "" if nothing is known against it."""
    major, minor, patch = parse(version)
    if patch in _LOSE_WRITES.get((major, minor), ()):
        return f"etcd {version} can lose acknowledged writes on a crash: use 3.5.3 or later"
    return ""
