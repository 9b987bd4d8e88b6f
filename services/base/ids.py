"""Object identity: makers of UIDs (RFC 4122 version 4), passed in so that tests can foresee them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

IdMaker = Callable[[], str]


_UIDS_PER_DRAW = 256


class RandomUids:
    """Version 4 UUIDs in canonical text form. Entropy is drawn for many at a time: one system call each was 8 % of a
    server's CPU during batch creates. Not for use across ``os.fork``.
    """

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def __call__(self) -> str:
        if self._at >= len(self._digits):
            self._digits = os.urandom(16 * _UIDS_PER_DRAW).hex()
            self._at = 0
        at, digits = self._at, self._digits
        self._at = at + 32
        # RFC 4122 §4.4: the version digit is 4, the two upper bits of the variant digit are 10.
        variant = "89ab"[int(digits[at + 16], 16) & 3]
        return (
            f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-4{digits[at + 13 : at + 16]}-"
            f"{variant}{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"
        )


random_uid: IdMaker = RandomUids()
"""The process' own maker."""


def sequential_uids(prefix: str = "00000000-0000-4000-8000-") -> IdMaker:
    """Foreseeable UIDs for tests: the prefix and a counter of 12 digits."""
    counter = itertools.count(1)
    return lambda: f"{prefix}{next(counter):012d}"
