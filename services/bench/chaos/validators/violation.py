"""What a validator finds wrong."""

from __future__ import annotations

from typing import NamedTuple


class Violation(NamedTuple):
    """``text`` says what is wrong; ``pod`` (a UID) and ``node`` whose story tells more, "" if nobody's."""

    text: str
    pod: str = ""
    node: str = ""
