"""What a watch cache needs of the store behind it, beyond the public interface."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.storage.interface import Page, ResourceStore


@dataclass(slots=True)
class FeedEntry:
    """What a key holds since ``revision``; ``value`` None: nothing. A value, not frozen for speed.

    ``previous`` and its revision: what it held before, where the feed was asked for that; None: nothing.
    """

    key: str
    value: bytes | None
    revision: int
    previous: bytes | None = None
    previous_revision: int = 0


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """Every change up to ``revision`` that the feed had not yet given, in order: whole revisions, often none."""

    revision: int
    entries: Sequence[FeedEntry]


class Backing(ResourceStore, Protocol):
    """A store that a ``CachedStore`` can stand before."""

    def feed(
        self, revision: int, prove: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[FeedBatch, None]:
        """Changes after ``revision``, for ever; breaks of the connection are mended inside, without loss or repetition.

        ``prove`` is asked after a break that leaves no change to compare with: is what the reader made of all it was
        given still what the store holds at that revision?
        Raises ``Expired`` when the history is gone (compacted), ``HistoryReplaced`` when it is another one.
        """
        ...

    def pages(self, records_max: int) -> AsyncGenerator[Page, None]:
        """The whole collection at one most recent revision, in key order. Raises what ``list`` raises."""
        ...

    async def current_revision(self) -> int:
        """A quorum read of the partition's revision, sent after this call. Raises ``Unavailable``."""
        ...

    async def request_progress(self, revision: int) -> None:
        """Have every feed reach ``revision`` soon although nothing changes; callers ask again until it has."""
        ...

    async def digest(self, revision: int) -> str:
        """A digest of every key and the revision of its last write, as of ``revision`` (``services.storage.digests``).

        Raises ``Expired``, ``Unavailable``.
        """
        ...
