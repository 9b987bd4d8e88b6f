"""A local copy of a collection that follows its partition: a dictionary, kept current by one watch.

One writer (the mux's task), any number of readers on the same loop. Handlers run synchronously, once per batch, after
the whole batch is in ``store``. An informer costs no task and under a kilobyte beside what it stores.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from services.api import keys
from services.api.kinds import Kind
from services.client import reflector
from services.client.clientset import watch_request
from services.client.mux import Batch, Subscription, WatchMux
from services.client.timers import Timer
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_BASE_S = 0.5
RETRY_MAX_S = 10.0
# How long a watch may last before it is opened anew from where it stands, as client-go's reflector does: no fault of a
# server that nobody noticed lasts longer, and streams spread again after servers were restarted.
WATCH_TIMEOUT_S = (300.0, 600.0)

_DELETED = 3


class Change(NamedTuple, Generic[T]):
    """``old`` None: it is new; ``new`` None: it is gone; ``partition``: where it was seen.

    An object that was replaced under its name (another UID) is a removal and then an addition.
    """

    key: str
    old: T | None
    new: T | None
    partition: str


Handler = Callable[[Sequence[Change[T]]], None]


@dataclass(frozen=True, slots=True)
class Accessors(Generic[T]):
    """How an informer reads its objects: their key in the store, their UID, their resource version."""

    key: Callable[[T], str]
    uid: Callable[[T], str]
    version: Callable[[T], int]


_UID = attrgetter("metadata.uid")
_VERSION = attrgetter("metadata.resource_version")
_DEFAULT_ACCESSORS: dict[str, Accessors[Any]] = {}


def accessors_of(kind: Kind) -> Accessors[Any]:
    """Those of the kind's own message; the key is ``services.api.keys.key_of``."""
    found = _DEFAULT_ACCESSORS.get(kind.resource)
    if found is None:
        found = Accessors(lambda message: keys.key_of(kind, message), _UID, _VERSION)
        _DEFAULT_ACCESSORS[kind.resource] = found
    return found


class Informer(Generic[T]):
    """``store`` maps keys to objects. Start it, close it; ``rebind`` moves it to another connection, keeping its state.

    ``decode``: bytes to object (default: the kind's message); ``transform``: applied after it, to keep less.
    ``accessors`` must be given when the stored object has no ``metadata`` of its own.
    ``on_batch``: called per batch with its changes; ``on_state``: when ``connected`` changes or the first list is in.
    """

    __slots__ = (
        "_accessors",
        "_decode",
        "_handlers",
        "_machine",
        "_mux",
        "_on_state",
        "_selection",
        "_subscription",
        "_synced_event",
        "_timer",
        "_transform",
        "connected",
        "has_synced",
        "kind",
        "store",
    )

    def __init__(
        self,
        mux: WatchMux,
        kind: Kind,
        *,
        tenant: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        decode: Callable[[bytes], T] | None = None,
        transform: Callable[[T], T] | None = None,
        accessors: Accessors[T] | None = None,
        on_batch: Handler[T] | None = None,
        on_state: Callable[[Informer[T]], None] | None = None,
    ) -> None:
        self.kind = kind
        self.store: dict[str, T] = {}
        self.connected = False
        self.has_synced = False
        self._mux = mux
        self._selection = (tenant, namespace, label_selector, field_selector)
        self._decode: Callable[[bytes], Any] = decode or kind.message.FromString
        self._transform = transform
        self._accessors: Accessors[T] = accessors or accessors_of(kind)
        self._handlers: tuple[Handler[T], ...] = (on_batch,) if on_batch else ()
        self._on_state = on_state
        self._machine = reflector.INITIAL
        self._subscription: Subscription | None = None
        self._synced_event: asyncio.Event | None = None
        self._timer: Timer | None = None

    @property
    def partition(self) -> str:
        return self._mux.partition

    @property
    def resource_version(self) -> int | None:
        """The position of ``store`` in its partition; None before the first list."""
        return self._machine.resource_version

    @property
    def synced(self) -> asyncio.Event:
        """Set once the first list is complete, for good."""
        if self._synced_event is None:
            self._synced_event = asyncio.Event()
            if self.has_synced:
                self._synced_event.set()
        return self._synced_event

    def add_handler(self, handler: Handler[T]) -> None:
        """``handler`` first gets everything that is known as additions, then every batch."""
        if self.store:
            handler([Change(key, None, obj, self.partition) for key, obj in self.store.items()])
        self._handlers = (*self._handlers, handler)

    def start(self) -> Informer[T]:
        """Begin; waits for its partition as long as that takes."""
        self._feed(reflector.Start())
        return self

    def close(self) -> None:
        """Stop following; ``store`` stays as it is."""
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.connected = False

    def rebind(self, mux: WatchMux) -> None:
        """Follow the same partition over another connection, from where this one stood."""
        was_connected = self.connected
        self.close()
        self._mux = mux
        if was_connected and self._on_state is not None:
            self._on_state(self)
        self._feed(reflector.Start())

    async def run(self) -> None:
        """Follow until cancelled; for those who keep an informer as a task."""
        self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.close()

    # What the mux calls.

    def on_watch_open(self) -> None:
        self._feed(reflector.Opened())

    def on_watch_batch(self, batch: Batch) -> None:
        decode, transform = self._decode, self._transform
        events: list[tuple[int, Any]]
        if transform is None:
            events = [(event_type, decode(data)) for event_type, data in batch.events]
        else:
            events = [(event_type, transform(decode(data))) for event_type, data in batch.events]
        self._feed(reflector.Received(events, batch.resource_version, batch.initial_events_end))

    def on_watch_end(self, error: StatusError) -> None:
        self._subscription = None
        self._feed(reflector.Ended(error))

    def _due(self) -> None:
        self._timer = None
        self._feed(reflector.Due())

    def _feed(self, happened: reflector.Input) -> None:
        self._machine, outputs = reflector.step(self._machine, happened)
        for output in outputs:
            match output:
                case reflector.Apply(events):
                    self._apply(events)
                case reflector.Replace(batches):
                    self._replace(batches)
                case reflector.Open(resource_version):
                    self._open(resource_version)
                case reflector.Retry(failures, at_least_s):
                    self._timer = self._mux.after(self._pause_s(failures, at_least_s), self._due)
                case reflector.Fresh():
                    self._mark_connected()
                case reflector.Stale(error):
                    self._mark_stale(error)

    def _open(self, resource_version: int | None) -> None:
        tenant, namespace, label_selector, field_selector = self._selection
        request = watch_request(
            tenant=tenant,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            send_initial_events=resource_version is None,
            bookmarks=True,
            timeout_s=int(self._mux.rand.uniform(*WATCH_TIMEOUT_S)),
        )
        self._subscription = self._mux.subscribe(self.kind, request, self)

    def _pause_s(self, failures: int, at_least_s: float) -> float:
        # Full jitter: of thousands of watches that ended together, none should come back with its neighbours.
        longest = min(RETRY_MAX_S, RETRY_BASE_S * 2.0 ** min(failures, 10))
        return at_least_s + self._mux.rand.uniform(0.02, longest)

    def _apply(self, events: reflector.Events) -> None:
        changes: list[Change[T]] = []
        for event_type, obj in events:
            key = self._accessors.key(obj)
            if event_type == _DELETED:
                old = self.store.pop(key, None)
                if old is not None:
                    changes.append(Change(key, old, None, self.partition))
            else:
                self._put(key, self.store.get(key), obj, changes)
                self.store[key] = obj
        self._deliver(changes)

    def _replace(self, batches: Sequence[reflector.Events]) -> None:
        """Swap the contents at once; deliver the difference."""
        key_of, version_of = self._accessors.key, self._accessors.version
        fresh: dict[str, T] = {}
        for events in batches:
            for event_type, obj in events:
                if event_type == _DELETED:
                    fresh.pop(key_of(obj), None)
                else:
                    fresh[key_of(obj)] = obj
        previous = self.store
        changes = [Change(key, obj, None, self.partition) for key, obj in previous.items() if key not in fresh]
        for key, obj in fresh.items():
            known = previous.get(key)
            if known is None or version_of(known) != version_of(obj):
                self._put(key, known, obj, changes)
        # In place: readers hold on to the dictionary itself.
        previous.clear()
        previous.update(fresh)
        self._deliver(changes)

    def _put(self, key: str, old: T | None, new: T, changes: list[Change[T]]) -> None:
        if old is not None and self._accessors.uid(old) != self._accessors.uid(new):
            changes.append(Change(key, old, None, self.partition))
            old = None
        changes.append(Change(key, old, new, self.partition))

    def _deliver(self, changes: Sequence[Change[T]]) -> None:
        if changes:
            for handler in self._handlers:
                handler(changes)

    def _mark_connected(self) -> None:
        if self.connected:  # A watch whose time was over was opened again at once.
            return
        first = not self.has_synced
        self.has_synced = True
        self.connected = True
        if self._synced_event is not None:
            self._synced_event.set()
        if first:
            _log.debug("informer synced", extra={"partition": self.partition, "resource": self.kind.resource})
        if self._on_state is not None:
            self._on_state(self)

    def _mark_stale(self, error: StatusError) -> None:
        if not self.connected:
            return
        self.connected = False
        _log.debug(
            "informer stale",
            extra={"partition": self.partition, "resource": self.kind.resource, "cause": error.message},
        )
        if self._on_state is not None:
            self._on_state(self)


def joined(stores: Mapping[str, Mapping[str, T]]) -> list[T]:
    """All objects of several stores, partition by partition."""
    return [obj for store in stores.values() for obj in store.values()]
