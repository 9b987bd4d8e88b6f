"""The whole cache as a state machine, on a clock that stands: its store fails, is compacted, and comes back.

A ``CachedStore`` over a store in memory, and the dictionary with revisions that both must agree with: most recent,
any-age, not-older-than and exact reads, pages, and watches that are opened, read from and resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from services.api.selectors import Selection
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.storage.backing import Backing, FeedBatch, FeedEntry
from services.storage.errors import Expired, StorageError, Unavailable
from services.storage.interface import ListQuery, Match, Record, WatchQuery, Write
from services.storage.memory import MemoryBackend, MemoryStore
from services.storage.testing.world import attributes_of
from services.storage.watchcache import CachedStore
from services.storage.watchcache.ring import WindowBounds
from tests.unit.storage.model import Model
from tests.unit.storage.test_stateful import Client
from tests.unit.storage.test_view import KEYS, PREFIX, PREFIXES, SELECTIONS, _value, contents

T = TypeVar("T")

batches = st.dictionaries(st.sampled_from(KEYS), contents, min_size=1, max_size=4)

# Longer than any pause between two tries of a cache that cannot reach its store.
RECOVERY_S = 60.0


class Forgetful:
    """A ``Backing`` whose feed ends with ``Expired`` instead of the next change when it ``forgets``."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.forgets = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def feed(
        self, revision: int, prove: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[FeedBatch, None]:
        async with contextlib.aclosing(self._store.feed(revision, prove)) as feed:
            async for batch in feed:
                if self.forgets:
                    self.forgets = False
                    raise Expired(revision, batch.revision)
                yield batch


class Cache(RuleBasedStateMachine):
    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.backend = MemoryBackend(clock=self.clock)
        self.store = Forgetful(self.backend.store(PREFIX, attributes_of))
        self.model = Model(revision=self.backend.revision)
        self.model.states = {self.backend.revision: {}}
        self.cached = CachedStore(
            cast(Backing, self.store),
            prefix=PREFIX,
            attributes_of=attributes_of,
            index="spec.nodeName",
            clock=self.clock,
            rand=Rand(1),
            window=WindowBounds(6, 12, 0.0),
        )
        self.following = self.loop.create_task(self.cached.run())
        self.everyone: list[Client] = []
        self._run(self.clock.advance(0.1))
        assert self.cached.ready

    def teardown(self) -> None:
        try:
            self.everyone_comes_to_rest()
        finally:
            self._end()

    def _end(self) -> None:
        self.following.cancel()
        self.loop.run_until_complete(asyncio.gather(self.following, return_exceptions=True))
        self.loop.close()

    # -- what happens to the store

    @rule(batches=st.lists(batches, min_size=1, max_size=4))
    def write(self, batches: list[dict[str, tuple[str, str, int] | None]]) -> None:
        for content in batches:
            self._write(content)

    def _write(self, content: dict[str, tuple[str, str, int] | None]) -> None:
        held = self.model.at(self.model.revision)
        writes = [Write(key, _value(key, wanted), None) for key, wanted in content.items()]
        writes = [write for write in writes if write.value is not None or write.key in held]
        if not self.backend.available:
            if writes:
                assert isinstance(self._failure(self.cached.write_batch(writes)), Unavailable)
            return
        outcomes = self._run(self.cached.write_batch(writes)) if writes else []
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        by_revision: dict[int, list[FeedEntry]] = {}
        for write, outcome in zip(writes, outcomes, strict=True):
            revision = outcome.revision if isinstance(outcome, Record) else self.backend.revision
            by_revision.setdefault(revision, []).append(FeedEntry(write.key, write.value, revision))
        for revision in sorted(by_revision):
            self.model.apply(revision, by_revision[revision])

    @rule(back=st.integers(0, 10))
    def compact(self, back: int) -> None:
        self._run(self._compact(max(1, self.backend.revision - back)))

    async def _compact(self, revision: int) -> None:
        with contextlib.suppress(Expired):
            await self.backend.compact(revision)

    @rule(content=batches)
    def lose_the_history(self, content: dict[str, tuple[str, str, int] | None]) -> None:
        """The feed misses the next change and everything after it until the cache has listed again."""
        self.store.forgets = True
        self._write(content)

    @rule(lost=st.booleans())
    def lose_or_find_the_store(self, lost: bool) -> None:
        if lost:
            self.backend.available = False
        else:
            self._recover()

    # -- reads

    @rule(prefix=st.sampled_from(PREFIXES), chosen=st.sampled_from(SELECTIONS))
    def list_most_recent(self, prefix: str, chosen: Selection) -> None:
        query = ListQuery(prefix, chosen)
        if not self.backend.available:
            assert isinstance(self._failure(self.cached.list(query)), Unavailable)
            return
        page = self._run(self.cached.list(query))
        assert page.revision == self.backend.revision
        assert list(page.records) == list(self.model.list(self.model.revision, prefix, chosen))

    @rule(prefix=st.sampled_from(PREFIXES), chosen=st.sampled_from(SELECTIONS))
    def list_at_any_age(self, prefix: str, chosen: Selection) -> None:
        page = self._run(self.cached.list(ListQuery(prefix, chosen, 0)))
        assert list(page.records) == list(self.model.list(page.revision, prefix, chosen))

    @rule(
        back=st.integers(0, 14),
        prefix=st.sampled_from(PREFIXES),
        chosen=st.sampled_from(SELECTIONS),
        limit=st.integers(0, 3),
    )
    def list_exactly(self, back: int, prefix: str, chosen: Selection, limit: int) -> None:
        revision = max(1, self.model.revision - back)
        found: list[Record] = []
        start = ""
        while True:
            query = ListQuery(prefix, chosen, revision, Match.EXACT, start, limit)
            try:
                page = self._run(self.cached.list(query))
            except Expired as gone:
                assert revision < gone.oldest
                return
            except Unavailable:
                assert not self.backend.available
                return
            assert page.revision == revision
            found += page.records
            if not page.more:
                break
            start = page.records[-1].key
        assert found == list(self.model.list(revision, prefix, chosen))

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: str) -> None:
        expected = self.model.at(self.cached.view.revision).get(key)
        assert self.cached.peek(key) == expected

    # -- watches

    @rule(target=clients, prefix=st.sampled_from(PREFIXES), chosen=st.sampled_from(SELECTIONS))
    def watch(self, prefix: str, chosen: Selection) -> Client:
        return self._watched(prefix, chosen)

    def _watched(self, prefix: str, chosen: Selection) -> Client:
        watcher = self._run(self.cached.watch(WatchQuery(prefix, chosen, 0, True, bookmarks=True)))
        client = Client(watcher, prefix, chosen, 0)
        self.everyone.append(client)
        return client

    @rule(client=clients, limit_bytes=st.sampled_from([1, 150, 1 << 20]))
    def read(self, client: Client, limit_bytes: int) -> None:
        if not client.ended:
            self._run(self._read(client, limit_bytes))

    async def _read(self, client: Client, limit_bytes: int) -> None:
        client.read(limit_bytes)

    @rule(target=clients, client=consumes(clients))
    def resume(self, client: Client) -> Client:
        """The connection breaks; the client goes on from its position, or starts anew."""
        client.watcher.close()
        self.everyone.remove(client)
        if client.position:
            query = WatchQuery(client.prefix, client.selection, client.position, initial_events=False)
            try:
                watcher = self._run(self.cached.watch(query))
            except Expired:
                assert client.position < self.cached.view.floor
            else:
                resumed = Client(watcher, client.prefix, client.selection, client.position, client.held)
                self.everyone.append(resumed)
                return resumed
        return self._watched(client.prefix, client.selection)

    @rule()
    def everyone_comes_to_rest(self) -> None:
        self._recover()
        for client in self.everyone:
            for _ in range(8):
                if not client.ended:
                    self._run(self._read(client, 1 << 20))
            if not client.ended:
                wanted = self.model.list(self.model.revision, client.prefix, client.selection)
                assert client.held == {record.key: record for record in wanted}

    # -- always

    @invariant()
    def the_cache_is_some_state_of_the_model(self) -> None:
        assert self.cached.view.revision <= self.backend.revision
        assert self.cached.view.state.items == self.model.at(self.cached.view.revision)

    # -- inside

    def _recover(self) -> None:
        self.backend.available = True
        self._run(self.clock.advance(RECOVERY_S))
        assert self.cached.view.revision == self.backend.revision

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it, with time passing for whoever waits, and let the rounds of dispatch run."""

        async def whole() -> T:
            task = self.loop.create_task(work)
            while not task.done():
                await self.clock.advance(0.05)
            for _ in range(12):
                await asyncio.sleep(0)
            return task.result()

        return self.loop.run_until_complete(whole())

    def _failure(self, work: Coroutine[Any, Any, Any]) -> StorageError | None:
        try:
            self._run(work)
        except StorageError as failure:
            return failure
        return None


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
