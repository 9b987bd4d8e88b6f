"""Object identity: makers of UIDs (RFC 4122 version 4), passed in so that tests can foresee them."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable

IdMaker = Callable[[], str]


def random_uid() -> str:
    """A version 4 UUID in its canonical text form."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def sequential_uids(prefix: str = "00000000-0000-4000-8000-") -> IdMaker:
    """Foreseeable UIDs for tests: the prefix and a counter of 12 digits."""
    counter = itertools.count(1)
    return lambda: f"{prefix}{next(counter):012d}"
