"""The collection in memory against the model: any history, any read, any watch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.selectors import EVERYTHING, Selection
from services.base.clock import FakeClock
from services.storage.backing import FeedEntry
from services.storage.errors import Expired, HistoryReplaced, SlowWatcher
from services.storage.interface import ListQuery, Match, Watcher, WatchQuery
from services.storage.testing.world import attributes_of, pod, selection
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.view import View
from tests.unit.storage.model import Model

PREFIX = "/ursa/pods/"
KEYS = [f"{PREFIX}{tenant}/{ns}/{name}" for tenant in ("a", "ab") for ns in ("n", "nn") for name in ("x", "y")]
PREFIXES = [PREFIX, PREFIX + "a/", PREFIX + "ab/nn/"]
SELECTIONS = [
    EVERYTHING,
    selection("app=web"),
    selection(fields="spec.nodeName=n1"),
    selection("app!=web", "spec.nodeName=n2"),
    selection(fields="spec.nodeName="),
]

contents = st.one_of(
    st.none(),
    st.builds(
        lambda app, node, note: (app, node, note),
        st.sampled_from(["", "web", "db"]),
        st.sampled_from(["", "n1", "n2"]),
        st.integers(0, 3),
    ),
)
revisions = st.dictionaries(st.sampled_from(KEYS), contents, max_size=4)
histories = st.lists(revisions, max_size=25)


def _entries(content: dict[str, tuple[str, str, int] | None], revision: int) -> list[FeedEntry]:
    return [FeedEntry(key, _value(key, wanted), revision) for key, wanted in content.items()]


def _value(key: str, wanted: tuple[str, str, int] | None) -> bytes | None:
    if wanted is None:
        return None
    app, node, note = wanted
    return pod(key.rpartition("/")[2], labels={"app": app} if app else None, node=node, note=str(note))


class Subject:
    """The view and the model, fed alike."""

    def __init__(self, low: int, high: int) -> None:
        # A window that spans no time at all never grows: old changes really fall out.
        self.view = View(PREFIX, attributes_of, "spec.nodeName", WindowBounds(low, high, 0.0), FakeClock())
        self.view.replace((), 1)
        self.model = Model()

    def feed(self, content: dict[str, tuple[str, str, int] | None]) -> None:
        revision = self.model.revision + 1
        entries = _entries(content, revision)
        self.view.apply(revision, entries)
        self.model.apply(revision, entries)


@settings(max_examples=150, deadline=None)
@given(
    histories,
    st.sampled_from(PREFIXES),
    st.sampled_from(SELECTIONS),
    st.integers(0, 5),
    st.sampled_from(["", *KEYS]),
)
def test_every_revision_in_the_window_lists_as_it_was(
    history: list[dict[str, tuple[str, str, int] | None]], prefix: str, chosen: Selection, limit: int, start: str
) -> None:
    async def scenario() -> None:
        subject = Subject(8, 8)
        for content in history:
            subject.feed(content)
            # Asked for at every step, so that snapshots made earlier are asked again after more changes.
            for revision in range(1, subject.model.revision + 1):
                _check_page(subject, prefix, chosen, limit, start if start.startswith(prefix) else "", revision)

    asyncio.run(scenario())


def _check_page(subject: Subject, prefix: str, chosen: Selection, limit: int, start: str, revision: int) -> None:
    query = ListQuery(prefix, chosen, revision, Match.EXACT, start, limit)
    try:
        page = subject.view.page_at(query, revision)
    except Expired:
        assert revision < subject.view.floor
        return
    assert revision >= subject.view.floor
    wanted = [record for record in subject.model.list(revision, prefix, chosen) if record.key > start]
    kept = wanted[:limit] if limit else wanted
    assert list(page.records) == kept
    assert page.revision == revision
    assert page.more == (len(kept) < len(wanted))
    assert page.remaining == (len(wanted) - len(kept) if chosen.everything else None)


@settings(max_examples=150, deadline=None)
@given(
    histories,
    histories,
    st.sampled_from(PREFIXES),
    st.sampled_from(SELECTIONS),
    st.integers(0, 30),
    st.lists(st.booleans(), min_size=25, max_size=25),
    st.sampled_from([1, 200, 1 << 20]),
)
def test_a_watch_gives_exactly_the_models_events(
    before: list[dict[str, tuple[str, str, int] | None]],
    after: list[dict[str, tuple[str, str, int] | None]],
    prefix: str,
    chosen: Selection,
    back: int,
    reads: list[bool],
    limit_bytes: int,
) -> None:
    async def scenario() -> None:
        subject = Subject(6, 6)
        for content in before:
            subject.feed(content)
        start = max(1, subject.model.revision - back)
        try:
            watcher = subject.view.watch(WatchQuery(prefix, chosen, start, initial_events=False))
        except Expired:
            assert start < subject.view.floor
            return
        got: list[tuple[str, str, int]] = []
        try:
            for content, reads_now in zip(after, reads, strict=False):
                subject.feed(content)
                if reads_now:
                    got += await _read(watcher, limit_bytes)
            got += await _read(watcher, limit_bytes)
        except SlowWatcher as slow:
            # Whoever fell out has missed changes that the window no longer holds, and has got all up to then.
            assert slow.resume_revision < subject.view.floor
            assert _ordered(got) == [
                e for e in subject.model.events(start, prefix, chosen) if e[2] <= slow.resume_revision
            ]
            return
        assert _ordered(got) == subject.model.events(start, prefix, chosen)

    asyncio.run(scenario())


async def _read(watcher: Watcher, limit_bytes: int) -> list[tuple[str, str, int]]:
    """Everything there is now: rounds need a few turns of the loop."""
    found: list[tuple[str, str, int]] = []
    for _ in range(12):
        await asyncio.sleep(0)
        while (batch := watcher.take(limit_bytes)) is not None:
            assert batch.events
            numbers = [event.record.revision for event in batch.events]
            assert numbers == sorted(numbers)
            assert batch.revision >= numbers[-1]
            assert not found or numbers[0] > found[-1][2], "a revision was split"
            found += [(event.type.name, event.record.key, event.record.revision) for event in batch.events]
    return found


def _ordered(events: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Within a revision the order of keys is the writer's; the model knows none."""
    return sorted(events, key=lambda event: (event[2], event[1]))


def test_a_replaced_collection_ends_the_watches_it_leaves_behind() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        subject.feed({KEYS[0]: ("", "", 0)})
        idle = subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert idle.take() is None
        future = subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 20, initial_events=False))
        subject.view.replace((), 10)
        assert subject.view.floor == 10
        with pytest.raises(Expired) as gone:
            idle.take()
        assert (gone.value.revision, gone.value.oldest) == (2, 10)
        assert future.take() is None
        subject.view.apply(21, [FeedEntry(KEYS[0], pod("x"), 21)])
        assert await _read(future, 1 << 20) == [("ADDED", KEYS[0], 21)]

    asyncio.run(scenario())


def test_a_collection_replaced_at_the_same_revision_ends_no_watch() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        subject.feed({KEYS[0]: ("", "", 0)})
        watcher = subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert watcher.take() is None
        records = list(subject.view.state.items.values())
        subject.view.replace(records, subject.view.revision)
        subject.feed({KEYS[1]: ("", "", 0)})
        assert await _read(watcher, 1 << 20) == [("ADDED", KEYS[1], 3)]

    asyncio.run(scenario())


def test_a_history_that_went_back_ends_every_watch() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        subject.feed({KEYS[0]: ("", "", 0)})
        ahead = subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 50, initial_events=False))
        subject.view.replace((), 1, voided=HistoryReplaced)
        with pytest.raises(HistoryReplaced):
            ahead.take()

    asyncio.run(scenario())


def test_a_watch_that_falls_out_of_the_window_is_told_where_it_was() -> None:
    async def scenario() -> None:
        subject = Subject(4, 4)
        watchers = [
            subject.view.watch(WatchQuery(PREFIX, chosen, 0, initial_events=False))
            for chosen in (EVERYTHING, selection(fields="spec.nodeName=n1"), selection(fields="spec.nodeName=n2"))
        ]
        assert [watcher.take() for watcher in watchers] == [None] * 3
        slow, slow_on_node, other_node = watchers
        subject.feed({KEYS[0]: ("", "n1", 0)})
        for note in range(8):
            subject.feed({KEYS[1]: ("", "n3", note)})
        await asyncio.sleep(0)
        for watcher in (slow, slow_on_node):
            for _ in range(2):  # nothing follows, ever
                with pytest.raises(SlowWatcher) as caught:
                    watcher.take()
                assert caught.value.resume_revision == 1
        # Nothing of what fell out concerned this one: it has missed nothing.
        assert other_node.take() is None
        subject.feed({KEYS[2]: ("", "n2", 0)})
        assert await _read(other_node, 1 << 20) == [("ADDED", KEYS[2], 11)]

    asyncio.run(scenario())


def test_a_revision_that_no_message_can_hold_ends_the_watches_it_concerns_and_no_others() -> None:
    async def scenario() -> None:
        view = View(PREFIX, attributes_of, "spec.nodeName", WindowBounds(), FakeClock())
        view.replace((), 1)
        everything = [view.watch(WatchQuery(PREFIX, EVERYTHING, 1, initial_events=False)) for _ in range(2)]
        small = view.watch(WatchQuery(PREFIX + "b/", EVERYTHING, 1, initial_events=False))
        keys = [f"{PREFIX}a/n/{number}" for number in range(18)]
        entries = [FeedEntry(key, pod("x", note="x" * 1_000_000), 2 + n) for n, key in enumerate(keys)]
        view.apply(20, [*entries, FeedEntry(PREFIX + "b/n/x", pod("x"), 20)])
        # One by one they are no trouble.
        for watcher in everything:
            assert len(await _read(watcher, 1 << 20)) == len(keys) + 1
        assert len(await _read(small, 1 << 20)) == 1
        view.apply(21, [FeedEntry(key, None, 21) for key in [*keys, PREFIX + "b/n/x"]])
        await asyncio.sleep(0)
        resumed = view.watch(WatchQuery(PREFIX, EVERYTHING, 20, initial_events=False))
        for watcher in (*everything, resumed):
            for _ in range(2):  # nothing follows, ever
                with pytest.raises(Expired) as caught:
                    watcher.take()
                assert (caught.value.revision, caught.value.oldest) == (20, 21)
        assert await _read(small, 1 << 20) == [("DELETED", PREFIX + "b/n/x", 21)]
        again = view.watch(WatchQuery(PREFIX, EVERYTHING, caught.value.oldest, initial_events=False))
        assert again.take() is None

    asyncio.run(scenario())


def test_watches_at_one_position_share_one_batch() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        watchers = [subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False)) for _ in range(3)]
        assert [watcher.take() for watcher in watchers] == [None] * 3
        subject.feed({KEYS[0]: ("", "", 0), KEYS[1]: ("", "n1", 0)})
        await asyncio.sleep(0)
        first, *others = [watcher.take() for watcher in watchers]
        assert first is not None
        assert all(other is first for other in others)
        assert first.wire is first.wire

    asyncio.run(scenario())


def test_a_reader_that_let_changes_gather_gets_all_that_there_are_and_is_not_woken_for_them_again() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        patient = subject.view.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        assert patient.take() is None
        woken: list[int] = []
        patient.set_wake(lambda: woken.append(subject.view.revision))
        for number in range(3):
            subject.feed({KEYS[0]: ("", "", number), KEYS[1]: ("", "", number)})
            for _ in range(6):
                await asyncio.sleep(0)
        assert len(woken) == 1, "one round has told that there is something"
        patient.catch_up()
        batch = patient.take()
        assert batch is not None
        assert (len(batch.events), batch.revision) == (6, subject.view.revision)
        assert patient.take() is None
        for _ in range(6):
            await asyncio.sleep(0)
        assert len(woken) == 1
        subject.feed({KEYS[0]: ("", "", 9)})
        for _ in range(6):
            await asyncio.sleep(0)
        assert len(woken) == 2
        patient.close()
        patient.catch_up()
        assert patient.take() is None

    asyncio.run(scenario())


def test_an_event_of_another_node_wakes_nobody() -> None:
    async def scenario() -> None:
        subject = Subject(16, 16)
        woken: list[str] = []
        for node in ("n1", "n2"):
            watcher = subject.view.watch(
                WatchQuery(PREFIX, selection(fields=f"spec.nodeName={node}"), 0, initial_events=False)
            )
            assert watcher.take() is None
            watcher.set_wake(lambda node=node: woken.append(node))  # type: ignore[misc]
        subject.feed({KEYS[0]: ("", "n1", 0)})
        for _ in range(6):
            await asyncio.sleep(0)
        assert woken == ["n1"]

    asyncio.run(scenario())
