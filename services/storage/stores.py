"""The stores of one partition: one per resource over its backend, a watch cache before each that wants one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.backing import Backing
from services.storage.interface import AttributesOf, ResourceStore
from services.storage.watchcache import CachedStore, WindowBounds
from services.storage.watchcache.bookmarks import PERIOD_S
from services.storage.watchcache.scans import Turns


@dataclass(frozen=True)
class WatchCacheConfig:
    """``off``: resources that are read straight from etcd, beside those that never are cached (events); ``"*"``: all.

    ``windows``: how much history is kept, by resource. ``bookmark_period_s``: how often a quiet watch that opted in is
    told its position.
    """

    off: tuple[str, ...] = ()
    windows: dict[str, WindowBounds] = field(default_factory=dict)
    bookmark_period_s: float = PERIOD_S


class Backend(Protocol):
    """What makes stores that share one history: etcd, memory."""

    def store(self, prefix: str, attributes_of: AttributesOf) -> Backing: ...


class HasCollection(Protocol):
    """A row of the kinds table, as far as its storage goes."""

    @property
    def resource(self) -> str: ...
    @property
    def index(self) -> str | None: ...
    @property
    def attributes(self) -> AttributesOf: ...


class Stores:
    """``work``: what keeps the caches up to date, by name; run it for as long as the stores are used."""

    def __init__(self, backend: Backend, config: WatchCacheConfig, clock: Clock, rand: Rand) -> None:
        self._backend = backend
        self._config = config
        self._clock = clock
        self._rand = rand
        self._turns = Turns(clock)
        self.work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}

    def open(self, kind: HasCollection, prefix: str, *, cached: bool) -> ResourceStore:
        """The store of the keys below ``prefix``; once per kind."""
        store = self._backend.store(prefix, kind.attributes)
        if not cached:
            return store
        cache = CachedStore(
            store,
            prefix=prefix,
            attributes_of=kind.attributes,
            index=kind.index,
            clock=self._clock,
            rand=self._rand,
            window=self._config.windows.get(kind.resource),
            bookmark_period_s=self._config.bookmark_period_s,
            turns=self._turns,
        )
        self.work[f"watch-cache-{kind.resource}"] = cache.run
        return cache
