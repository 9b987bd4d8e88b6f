"""The collection in memory as a state machine: whatever is done in whatever order, it is what the model says.

Ring, state, snapshots and watches at once: writes, compaction, relists, reads at any revision, watches that are opened,
read from, left alone, resumed and ended at any moment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from services.api.selectors import Selection
from services.base.clock import FakeClock
from services.storage.backing import FeedEntry
from services.storage.errors import Expired, SlowWatcher
from services.storage.interface import EventType, ListQuery, Match, Record, Watcher, WatchQuery
from services.storage.testing.world import attributes_of
from services.storage.watchcache.ring import WindowBounds
from services.storage.watchcache.view import View
from tests.unit.storage.model import Model
from tests.unit.storage.test_view import KEYS, PREFIX, PREFIXES, SELECTIONS, _value, contents

revisions = st.dictionaries(st.sampled_from(KEYS), contents, max_size=4)


@dataclass(eq=False)
class Client:
    """A client's own copy of what its watch selects, kept by events alone."""

    watcher: Watcher
    prefix: str
    selection: Selection
    position: int
    held: dict[str, Record] = field(default_factory=dict)
    ended: bool = False

    def read(self, limit_bytes: int) -> None:
        try:
            while (batch := self.watcher.take(limit_bytes)) is not None:
                for event in batch.events:
                    self._see(event.type, event.record)
                if batch.revision:  # 0: parts of the initial state are still to come
                    assert batch.revision >= self.position
                    self.position = batch.revision
        except (Expired, SlowWatcher):
            self.ended = True

    def _see(self, kind: EventType, record: Record) -> None:
        assert (record.key in self.held) == (kind is not EventType.ADDED)
        if kind is EventType.DELETED:
            del self.held[record.key]
        else:
            self.held[record.key] = record


class Collection(RuleBasedStateMachine):
    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.view = View(PREFIX, attributes_of, "spec.nodeName", WindowBounds(6, 12, 0.0), FakeClock())
        self.view.replace((), 1)
        self.model = Model()
        self.everyone: list[Client] = []

    def teardown(self) -> None:
        self.loop.close()

    # -- what happens to the collection

    @rule(content=revisions, skipped=st.integers(0, 3))
    def write(self, content: dict[str, tuple[str, str, int] | None], skipped: int) -> None:
        revision = self.model.revision + 1 + skipped  # other collections have revisions too
        entries = [FeedEntry(key, _value(key, wanted), revision) for key, wanted in content.items()]
        self._in_loop(lambda: self.view.apply(revision, entries))
        self.model.apply(revision, entries)

    @rule(back=st.integers(0, 10))
    def compact(self, back: int) -> None:
        self.view.compact(max(1, self.model.revision - back))

    @rule(content=revisions, rarely=st.integers(0, 4))
    def relist(self, content: dict[str, tuple[str, str, int] | None], rarely: int) -> None:
        """Changes that the feed has missed, then the whole collection at once."""
        if rarely:
            return
        revision = self.model.revision + 1
        self.model.apply(revision, [FeedEntry(key, _value(key, wanted), revision) for key, wanted in content.items()])
        records = self.model.at(revision).values()
        self._in_loop(lambda: self.view.replace(records, revision))
        assert self.view.floor == revision

    # -- reads

    @rule(
        back=st.integers(0, 14),
        prefix=st.sampled_from(PREFIXES),
        chosen=st.sampled_from(SELECTIONS),
        limit=st.integers(0, 3),
    )
    def list_at(self, back: int, prefix: str, chosen: Selection, limit: int) -> None:
        revision = max(1, self.model.revision - back)
        wanted = list(self.model.list(revision, prefix, chosen))
        found: list[Record] = []
        start = ""
        while True:
            try:
                page = self.view.page_at(ListQuery(prefix, chosen, revision, Match.EXACT, start, limit), revision)
            except Expired:
                assert revision < self.view.floor
                return
            found += page.records
            if not page.more:
                break
            start = page.records[-1].key
        assert found == wanted

    # -- watches

    @rule(target=clients, prefix=st.sampled_from(PREFIXES), chosen=st.sampled_from(SELECTIONS))
    def watch_with_state(self, prefix: str, chosen: Selection) -> Client:
        return self._with_state(prefix, chosen)

    def _with_state(self, prefix: str, chosen: Selection) -> Client:
        watcher = self.view.watch(WatchQuery(prefix, chosen, None, True, bookmarks=True))
        return self._client(watcher, prefix, chosen, 0, {})

    def _client(
        self, watcher: Watcher, prefix: str, chosen: Selection, position: int, held: dict[str, Record]
    ) -> Client:
        client = Client(watcher, prefix, chosen, position, held)
        self.everyone.append(client)
        return client

    @rule(
        target=clients,
        prefix=st.sampled_from(PREFIXES),
        chosen=st.sampled_from(SELECTIONS),
        back=st.integers(0, 14),
    )
    def watch_from(self, prefix: str, chosen: Selection, back: int) -> Client:
        revision = max(1, self.model.revision - back)
        held = {record.key: record for record in self.model.list(revision, prefix, chosen)}
        try:
            watcher = self.view.watch(WatchQuery(prefix, chosen, revision, initial_events=False))
        except Expired:
            assert revision < self.view.floor
            return self._with_state(prefix, chosen)
        return self._client(watcher, prefix, chosen, revision, held)

    @rule(client=clients, limit_bytes=st.sampled_from([1, 150, 1 << 20]))
    def read(self, client: Client, limit_bytes: int) -> None:
        if not client.ended:
            self._in_loop(lambda: client.read(limit_bytes))

    @rule(client=clients)
    def ask_for_a_bookmark(self, client: Client) -> None:
        if not client.ended:
            self._in_loop(client.watcher.request_bookmark)

    @rule(target=clients, client=consumes(clients))
    def resume(self, client: Client) -> Client:
        """The connection breaks; the client goes on from its position, or starts anew."""
        client.watcher.close()
        self.everyone.remove(client)
        if client.position:
            query = WatchQuery(client.prefix, client.selection, client.position, initial_events=False)
            try:
                watcher = self.view.watch(query)
                return self._client(watcher, client.prefix, client.selection, client.position, client.held)
            except Expired:
                assert client.position < self.view.floor
        return self._with_state(client.prefix, client.selection)

    @rule()
    def everyone_reads_to_the_end(self) -> None:
        for client in self.everyone:
            self._read_to_the_end(client)

    def _read_to_the_end(self, client: Client) -> None:
        for _ in range(8):
            if not client.ended:
                self._in_loop(lambda: client.read(1 << 20))
        if not client.ended:
            wanted = {r.key: r for r in self.model.list(self.model.revision, client.prefix, client.selection)}
            assert client.held == wanted

    @invariant()
    def the_present_is_the_models(self) -> None:
        assert self.view.revision == self.model.revision
        assert self.view.state.items == self.model.at(self.model.revision)
        for prefix in PREFIXES:
            assert self.view.state.count(prefix) == sum(key.startswith(prefix) for key in self.view.state.items)
        assert len(self.view.stream.ring) <= 12 + 4  # the newest revision stays whole

    def _in_loop(self, action: object) -> None:
        """Do it inside the loop, and let its rounds run."""

        async def turn() -> None:
            action()  # type: ignore[operator]
            for _ in range(6):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())


TestCollection = Collection.TestCase
TestCollection.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
