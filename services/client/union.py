"""One view of a kind over many partitions, which come and go at run time.

A partition that cannot be reached is *stale*: its objects stay. Only ``remove_partition`` makes them go, because only a
vanished partition object says that the partition is gone. Same-named objects of two partitions are two objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from services.api.kinds import Kind
from services.client.informer import Change, Handler, Informer
from services.client.mux import WatchMux

T = TypeVar("T")


class UnionInformer(Generic[T]):
    """``stores[partition][key]`` is the object. Changes carry their partition; ``options`` are those of ``Informer``.

    ``on_state(partition)`` is called when a partition is connected, stale, added or removed.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        on_batch: Handler[T] | None = None,
        on_state: Callable[[str], None] | None = None,
        **options: Any,
    ) -> None:
        self.kind = kind
        self._options = options
        self._handlers: tuple[Handler[T], ...] = (on_batch,) if on_batch else ()
        self._on_state = on_state
        self._informers: dict[str, Informer[T]] = {}

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(self._informers)

    @property
    def stores(self) -> Mapping[str, Mapping[str, T]]:
        return {name: informer.store for name, informer in self._informers.items()}

    def informer(self, partition: str) -> Informer[T]:
        """Raises ``KeyError`` for a partition that was not added."""
        return self._informers[partition]

    def connected(self, partition: str) -> bool:
        """False: what is known of it may be out of date, or nothing is known yet."""
        informer = self._informers.get(partition)
        return informer is not None and informer.connected

    def has_synced(self, partition: str) -> bool:
        informer = self._informers.get(partition)
        return informer is not None and informer.has_synced

    def synced(self, partition: str) -> asyncio.Event:
        """Raises ``KeyError`` for a partition that was not added."""
        return self._informers[partition].synced

    def add_handler(self, handler: Handler[T]) -> None:
        """``handler`` first gets everything that is known as additions, then every batch."""
        for name, informer in self._informers.items():
            if informer.store:
                handler([Change(key, None, obj, name) for key, obj in informer.store.items()])
        self._handlers = (*self._handlers, handler)

    def add_partition(self, name: str, mux: WatchMux) -> None:
        """Follow ``name`` over ``mux``; a partition that is followed already moves to it and keeps its state."""
        known = self._informers.get(name)
        if known is not None:
            known.rebind(mux)
            return
        informer: Informer[T] = Informer(
            mux,
            self.kind,
            on_batch=self._deliver,
            on_state=lambda _: self._state_changed(name),
            **self._options,
        )
        self._informers[name] = informer
        informer.start()
        self._state_changed(name)

    def remove_partition(self, name: str) -> None:
        """The partition is gone: so are its objects, which are delivered as removals. Idempotent."""
        informer = self._informers.pop(name, None)
        if informer is None:
            return
        informer.close()
        if informer.store:
            self._deliver([Change(key, obj, None, name) for key, obj in informer.store.items()])
        self._state_changed(name)

    def close(self) -> None:
        for informer in self._informers.values():
            informer.close()

    def _deliver(self, changes: Any) -> None:
        for handler in self._handlers:
            handler(changes)

    def _state_changed(self, name: str) -> None:
        if self._on_state is not None:
            self._on_state(name)
