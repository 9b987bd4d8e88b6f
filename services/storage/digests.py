"""One short text for the whole content of a collection: equal for equal keys and revisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


class Digest:
    """Feed it (key, revision of the last write) in key order, in as many parts as you like."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, entries: Iterable[tuple[str, int]]) -> None:
        self._hash.update("".join([f"{key}\0{revision}\n" for key, revision in entries]).encode())

    def text(self) -> str:
        return self._hash.hexdigest()
