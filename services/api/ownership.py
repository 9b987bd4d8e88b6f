"""Owner references as values: what garbage collection and the API server say to each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
"""Finalizers."""


class Policy(enum.StrEnum):
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class OwnerState(enum.Enum):
    """SOLID: it exists, or cannot be judged here. WAITING: it ends in the foreground. ABSENT: it is gone for good."""

    SOLID = "solid"
    WAITING = "waiting"
    ABSENT = "absent"


@dataclass(frozen=True)
class Reference:
    """An owner reference. ``blocks``: the owner's foreground deletion waits for the dependent."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool


@dataclass(frozen=True)
class Thing:
    """An object as far as ownership goes. ``ending``: it has a deletion timestamp."""

    resource: str
    key: str
    uid: str
    owners: tuple[Reference, ...] = ()
    finalizers: tuple[str, ...] = ()
    ending: bool = False

    @property
    def waits(self) -> bool:
        """It is being deleted, and garbage collection has to do something before it may go."""
        return self.ending and (FOREGROUND in self.finalizers or ORPHAN in self.finalizers)


@dataclass(frozen=True)
class Seen:
    """One event of the partition. ``gone``: the thing was removed, ``thing`` is what it was."""

    thing: Thing
    gone: bool
