"""Long scans: the event loop is free in between, and what they find is the collection at one revision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.selectors import Selection
from services.base.clock import FakeClock, SystemClock
from services.base.rand import Rand
from services.storage.backing import FeedEntry
from services.storage.errors import Expired
from services.storage.interface import EventType, ListQuery, Match, Record, ResourceStore, Watcher, WatchQuery, Write
from services.storage.memory import MemoryBackend
from services.storage.testing.world import attributes_of, pod, selection
from services.storage.watchcache import CachedStore, scan
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.scans import LONG_RECORDS, Scans, Turns
from services.storage.watchcache.view import View
from tests.unit.storage.test_view import KEYS, PREFIX, PREFIXES, SELECTIONS, Subject, histories

MANY = 20_000
WEB = selection("app=web")
LOOPS_MIN = 15  # slices are of 1,024 records at most


def _key(number: int) -> str:
    return f"{PREFIX}a/n/p{number:06}"


def _pod(number: int, node: str = "n1") -> bytes:
    return pod(f"p{number:06}", labels={"app": "web" if number % 2 else "db"}, node=node)


def _view(count: int) -> View:
    view = View(PREFIX, attributes_of, "spec.nodeName", WindowBounds(), FakeClock())
    view.replace([Record(_key(number), _pod(number), 1) for number in range(count)], 1)
    return view


@contextlib.asynccontextmanager
async def _cached(count: int) -> AsyncIterator[CachedStore]:
    backing = MemoryBackend().store(PREFIX, attributes_of)
    await backing.write_batch([Write(_key(number), _pod(number), 0) for number in range(count)])
    cached = CachedStore(backing, prefix=PREFIX, attributes_of=attributes_of, clock=SystemClock(), rand=Rand(1))
    async with cached.running():
        await cached.wait_ready()
        yield cached


class Loops:
    """How often the event loop has gone round."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _counting() -> AsyncIterator[Loops]:
    loops = Loops()
    task = asyncio.ensure_future(loops.run())
    try:
        yield loops
    finally:
        task.cancel()


async def _list(store: ResourceStore, chosen: Selection) -> list[Record]:
    return list((await store.list(ListQuery(PREFIX, chosen, 0))).records)


async def _watch(store: ResourceStore, chosen: Selection) -> list[Record]:
    return _drain(await store.watch(WatchQuery(PREFIX, chosen, 0)))


def _drain(watcher: Watcher) -> list[Record]:
    found: list[Record] = []
    while (batch := watcher.take()) is not None:
        found += [event.record for event in batch.events]
    return found


@pytest.mark.parametrize("chosen", [WEB, selection(fields="metadata.name!=x"), selection(fields="spec.nodeName=n1")])
@pytest.mark.parametrize("read", [_list, _watch])
async def test_the_loop_goes_round_while_a_long_scan_lasts(
    read: Callable[[ResourceStore, Selection], object], chosen: Selection
) -> None:
    async with _cached(MANY) as store, _counting() as loops:
        found = await read(store, chosen)  # type: ignore[misc]
        assert loops.count >= LOOPS_MIN
        assert [record.key for record in found] == [_key(n) for n in range(MANY) if n % 2 or chosen is not WEB]


async def test_what_is_short_or_looked_up_or_known_is_answered_at_once() -> None:
    view = _view(MANY)
    view.apply(2, [FeedEntry(_key(7), _pod(7, node="n7"), 2), FeedEntry(f"{PREFIX}b/n/x", pod("x"), 2)])
    scans = Scans(view, Turns(FakeClock()))
    known = await scans.page(ListQuery(PREFIX, WEB))
    async with _counting() as loops:
        assert len((await scans.page(ListQuery(PREFIX, selection(fields="spec.nodeName=n7")))).records) == 1
        assert len((await scans.page(ListQuery(PREFIX + "b/", selection("app!=web")))).records) == 1
        assert (await scans.page(ListQuery(PREFIX, WEB))).records is known.records
        assert not loops.count


@settings(max_examples=300, deadline=None)
@given(
    histories,
    histories,
    st.sampled_from(PREFIXES),
    st.sampled_from(SELECTIONS),
    st.integers(0, 4),
    st.sampled_from(["", *KEYS]),
    st.integers(0, 9),
)
def test_a_scan_finds_the_collection_at_its_revision_whatever_is_written_meanwhile(
    before: list[dict[str, tuple[str, str, int] | None]],
    meanwhile: list[dict[str, tuple[str, str, int] | None]],
    prefix: str,
    chosen: Selection,
    limit: int,
    start: str,
    back: int,
) -> None:
    subject = Subject(20, 20)
    for content in before:
        subject.feed(content)
    start = start if start.startswith(prefix) else ""
    revision = max(1, subject.model.revision - back)
    try:
        found = subject.view.scan(prefix, chosen, revision, start_key=start, limit=limit)
    except Expired:
        assert revision < subject.view.floor
        return
    wanted = [record for record in subject.model.list(revision, prefix, chosen) if record.key > start]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "CHUNK_RECORDS", 1)
        for content in meanwhile:
            found.step(1, lambda: True)
            subject.feed(content)
        while not found.done:
            found.step(1, lambda: True)
    subject.view.end(found)
    kept = wanted[:limit] if limit else wanted
    assert found.found == kept
    assert found.more == (len(kept) < len(wanted))


@pytest.mark.parametrize("exact", [False, True])
async def test_pages_are_those_of_one_revision_under_writes(exact: bool) -> None:
    view = _view(3 * LONG_RECORDS)
    scans = Scans(view, Turns(FakeClock()))
    wanted = [_key(number) for number in range(1, 3 * LONG_RECORDS, 2)]
    found: list[str] = []
    writer = asyncio.ensure_future(_churn(view, 3 * LONG_RECORDS))
    query = ListQuery(PREFIX, WEB, limit=700 if exact else 0)
    page = await scans.page(query)
    assert page.revision == 1
    found += [record.key for record in page.records]
    while page.more:
        query = ListQuery(PREFIX, WEB, 1, Match.EXACT, found[-1], 700)
        page = await scans.page_at(query, 1)
        found += [record.key for record in page.records]
    writer.cancel()
    assert view.revision > 2
    assert found == wanted


async def _churn(view: View, count: int) -> None:
    """Records come, go, and enter and leave selections, everywhere at once."""
    for revision in range(view.revision + 1, view.revision + 400):
        at = (revision * 7919) % count
        view.apply(
            revision,
            [
                FeedEntry(_key(at), None if revision % 3 else _pod(at + 1), revision),
                FeedEntry(_key((at + count // 2) % count), _pod(at), revision),
                FeedEntry(_key(at) + "x", _pod(1), revision),
            ],
        )
        await asyncio.sleep(0)


async def test_a_watch_joins_its_events_to_its_initial_state_without_gap_or_repetition() -> None:
    count = 10 * LONG_RECORDS
    view = _view(count)
    writer = asyncio.ensure_future(_churn(view, count))
    watcher = await Scans(view, Turns(FakeClock())).watch(WatchQuery(PREFIX, WEB, bookmarks=True))
    assert view.revision > 5
    assert not writer.done()
    await writer
    view.stream.release()
    held: dict[str, Record] = {}
    while (batch := watcher.take()) is not None:
        for event in batch.events:
            assert (event.record.key in held) == (event.type is not EventType.ADDED)
            if event.type is EventType.DELETED:
                del held[event.record.key]
            else:
                held[event.record.key] = event.record
    assert held == {record.key: record for record in view.page(ListQuery(PREFIX, WEB)).records}


async def test_a_watch_of_a_collection_that_is_replaced_meanwhile_begins_with_the_new_one() -> None:
    view = _view(MANY)
    opening = asyncio.ensure_future(Scans(view, Turns(FakeClock())).watch(WatchQuery(PREFIX, WEB)))
    await asyncio.sleep(0)
    view.replace([Record(_key(1), _pod(1), 9)], 9)
    watcher = await opening
    batch = watcher.take()
    assert batch is not None
    assert (batch.revision, [event.record.revision for event in batch.events]) == (9, [9])


async def test_many_scans_share_one_slice_per_round_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [_view(5 * LONG_RECORDS) for _ in range(2)]
    turns = Turns(FakeClock())
    rounds: list[int] = []
    step = scan.Scan.step
    async with _counting() as loops:

        def counted(self: scan.Scan, *rest: object) -> None:
            rounds.append(loops.count)
            step(self, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(scan.Scan, "step", counted)
        chosen = [selection(f"app!=x{number}") for number in range(4)]
        reads = [Scans(view, turns).page(ListQuery(PREFIX, wanted)) for view in views for wanted in chosen]
        pages = await asyncio.gather(*reads)
    assert all(len(page.records) == 5 * LONG_RECORDS for page in pages)
    assert len(rounds) == len(set(rounds)) >= 8 * 4


async def test_who_asks_alike_shares_a_scan_also_if_the_other_gives_up() -> None:
    view = _view(MANY)
    scans = Scans(view, Turns(FakeClock()))
    first, second = (asyncio.ensure_future(scans.page(ListQuery(PREFIX, WEB))) for _ in range(2))
    await asyncio.sleep(0)
    view.apply(2, ())  # the revision of other collections; nothing has changed in this one
    third = asyncio.ensure_future(scans.page(ListQuery(PREFIX, WEB)))
    await asyncio.sleep(0)
    first.cancel()
    page, later = await second, await third
    assert len(page.records) == MANY // 2
    assert later.records is page.records
    assert (page.revision, later.revision) == (1, 2)


async def test_a_cancelled_scan_leaves_nothing_behind() -> None:
    view = _view(MANY)
    scans = Scans(view, Turns(FakeClock()))
    running = asyncio.ensure_future(scans.page(ListQuery(PREFIX, WEB)))
    waiting = asyncio.ensure_future(scans.watch(WatchQuery(PREFIX, selection("app=db"))))
    for _ in range(3):
        await asyncio.sleep(0)
    assert view._scans
    for task in (waiting, running):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert running.cancelled()
    assert waiting.cancelled()
    assert not view._scans
    assert not view.stream.watchers
    async with asyncio.timeout(10):
        assert len((await scans.page(ListQuery(PREFIX, WEB))).records) == MANY // 2
