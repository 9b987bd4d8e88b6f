"""Read-modify-write: pure transitions of a record, committed by compare-and-swap, singly or as a batch.

A transition is first tried on the cached record. What it refuses, or finds unchanged, is checked again on a live read,
for the cache may be behind; a lost race goes on from what storage returned (apiserver ``GuaranteedUpdate``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.api import keys
from services.api.selectors import EVERYTHING
from services.apiserver import limits
from services.apiserver.resource import Resource
from services.rpc import status
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import ListQuery, Record, Write

# So many keys to look at again are read as of one revision; fewer, each on its own.
SHARED_READ_FROM = 8

Transition = Callable[[Record], bytes | None]
"""The value to store; the record's own value: nothing to do; None: remove the key. Raises ``StatusError``."""


@dataclass(frozen=True, slots=True)
class Change:
    """``record``: what the key holds now, or held last if it was ``removed``. ``written``: False for a no-op."""

    record: Record
    removed: bool = False
    written: bool = True


async def change(resource: Resource, key: str, transition: Transition, *, dry_run: bool = False) -> Change:
    """Apply ``transition`` to ``key``. Raises ``StatusError`` and storage's errors."""
    store = resource.store
    record = store.peek(key)
    live = record is None
    if record is None:
        record = await store.get(key)
    for _ in range(limits.WRITE_ATTEMPTS):
        try:
            value = transition(record)
        except StatusError:
            fresh = record if live else await store.get(key)
            if fresh.revision == record.revision:
                raise
            record, live = fresh, True
            continue
        if value == record.value:
            fresh = record if live else await store.get(key)
            if fresh.revision == record.revision:
                return Change(record, written=False)
            record, live = fresh, True
            continue
        if dry_run:
            return _tried(record, value)
        try:
            write = _write(resource, record, value)
            await resource.put_under_leases((write,))
            written = await store.write(write)
        except storage.PreconditionFailed as failure:
            record, live = _current(failure, key), True
            continue
        return _changed(record, written)
    raise _contended(resource, key)


@dataclass(slots=True)
class _Item:
    """One change of a batch on its way. ``live``: ``record`` comes from a read or write, not from the cache."""

    key: str
    transition: Transition
    record: Record | None = None
    live: bool = False
    outcome: Change | Exception | None = None
    value: bytes | None = None


async def change_batch(
    resource: Resource, items: Sequence[tuple[str, Transition] | Exception]
) -> list[Change | Exception]:
    """Apply each transition to its key, an outcome per item in order; all first attempts share one storage write.

    An item that is an exception already is passed through. A key that occurs again waits for its turn. Raises storage's
    ``QueueFull`` and ``Unavailable`` for all items while none is written; afterwards they are outcomes like others.
    """
    batch = [_Item("", _never, outcome=item) if isinstance(item, Exception) else _Item(*item) for item in items]
    for _ in range(limits.WRITE_ATTEMPTS):
        open_items = [item for item in batch if item.outcome is None]
        if not open_items:
            break
        chosen: dict[str, _Item] = {}
        stale: list[_Item] = []
        for turn, item in enumerate(open_items):
            if turn % limits.ITEMS_PER_TURN == limits.ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            if item.key in chosen:
                continue
            if not _attempt(resource, item):
                stale.append(item)
            elif item.outcome is None:
                chosen[item.key] = item
        try:
            await _write_chosen(resource, list(chosen.values()))
        except storage.StorageError as failure:
            # Whoever is refused as a whole tries all of it again: not once a part of it is written.
            if not any(isinstance(item.outcome, Change) and item.outcome.written for item in batch):
                raise
            for item in chosen.values():
                item.outcome = failure
        await _refresh(resource, stale)
    return [item.outcome or _contended(resource, item.key) for item in batch]


def _attempt(resource: Resource, item: _Item) -> bool:
    """Find ``item``'s value or outcome; False: it takes a live read to tell."""
    if item.record is None:
        item.record = resource.store.peek(item.key)
        if item.record is None:
            return False
    try:
        item.value = item.transition(item.record)
    except StatusError as failure:
        if item.live:
            item.outcome = failure
        return item.live
    if item.value == item.record.value:
        if item.live:
            item.outcome = Change(item.record, written=False)
        return item.live
    return True


async def _write_chosen(resource: Resource, chosen: Sequence[_Item]) -> None:
    if not chosen:
        return
    writes = [_write(resource, item.record, item.value) for item in chosen if item.record is not None]
    await resource.put_under_leases(writes)
    for item, result in zip(chosen, await resource.store.write_batch(writes), strict=True):
        if isinstance(result, storage.PreconditionFailed):
            item.record, item.live = result.record, True
            if result.record is None:
                item.outcome = storage.KeyNotFound(item.key)
        elif isinstance(result, Exception):
            item.outcome = result
        elif item.record is not None:
            item.outcome = _changed(item.record, result)


async def _refresh(resource: Resource, stale: Sequence[_Item]) -> None:
    try:
        revision = await _current_revision(resource) if len(stale) >= SHARED_READ_FROM else None
    except storage.StorageError as failure:
        for item in stale:
            item.outcome = failure
        return
    reads = await asyncio.gather(*(resource.store.get(item.key, revision) for item in stale), return_exceptions=True)
    for item, found in zip(stale, reads, strict=True):
        if isinstance(found, Record):
            item.record, item.live = found, True
        elif isinstance(found, Exception):
            item.outcome = found
        else:
            raise found


async def _current_revision(resource: Resource) -> int:
    """A revision that holds everything written before this call: one quorum read for all that then come from memory."""
    page = await resource.store.list(ListQuery(keys.prefix(resource.kind), EVERYTHING, limit=1))
    return page.revision


def _never(record: Record) -> bytes | None:
    raise AssertionError("an item that failed has no transition")


def _write(resource: Resource, record: Record, value: bytes | None) -> Write:
    replaced_bytes = len(record.value)
    if value is None:
        return Write(record.key, value, record.revision, resource.lane, replaced_bytes=replaced_bytes)
    return Write(record.key, value, record.revision, resource.update_lane(record.key), replaced_bytes=replaced_bytes)


def _current(failure: storage.PreconditionFailed, key: str) -> Record:
    if failure.record is None:
        raise storage.KeyNotFound(key) from failure
    return failure.record


def _changed(before: Record, written: Record | None) -> Change:
    return Change(before, removed=True) if written is None else Change(written)


def _tried(record: Record, value: bytes | None) -> Change:
    if value is None:
        return Change(record, removed=True, written=False)
    return Change(Record(record.key, value, record.revision), written=False)


def _contended(resource: Resource, key: str) -> StatusError:
    return status.conflict(
        resource.kind.resource,
        key.rsplit("/", 1)[-1],
        f"{limits.WRITE_ATTEMPTS} writers in a row were faster; try again",
    )
