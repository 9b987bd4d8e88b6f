"""A watch that never gives up: it resumes from where it stood, and writes down everything that it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.api.kinds import NODES, PODS, Kind
from services.base.clock import Clock
from services.base.rand import Rand
from services.bench.chaos import reading
from services.bench.chaos.facts import NodeSeen, PodSeen, Position, WatchBegan, WatchEnded
from services.bench.chaos.recorder import Recorder
from services.client.clientset import watch_request
from services.client.mux import Batch, Subscription, WatchMux
from services.rpc.status import StatusError

_PAUSE_S = (0.05, 0.5)

Seen = Callable[[PodSeen | NodeSeen], None]


class Follower:
    """All pods or all nodes of a partition. ``on_seen``: told of each event; ``on_reset``: the state begins anew."""

    def __init__(
        self,
        name: str,
        mux: WatchMux,
        kind: Kind,
        recorder: Recorder,
        clock: Clock,
        rand: Rand,
        *,
        on_seen: Seen | None = None,
        on_reset: Callable[[], None] | None = None,
    ) -> None:
        assert kind in (PODS, NODES)
        self.name = name
        self.position = 0
        self.initial_end = asyncio.Event()
        self._mux = mux
        self._kind = kind
        self._recorder = recorder
        self._clock = clock
        self._rand = rand
        self._on_seen = on_seen
        self._on_reset = on_reset
        self._resume: int | None = None
        self._listing = False
        self._subscription: Subscription | None = None

    def start(self) -> Follower:
        self._open()
        return self

    def break_off(self) -> None:
        """End the watch from this side and begin it again from where it stands."""
        if self._subscription is not None and not self._listing:
            self._subscription.cancel()
            self._ended("broken off")

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.cancel()

    # What the mux calls.

    def on_watch_open(self) -> None:
        """Nothing to do: what counts is what comes."""

    def on_watch_batch(self, batch: Batch) -> None:
        now, parse = self._clock.monotonic(), self._kind.message.FromString
        for event_type, data in batch.events:
            fact = self._fact(now, reading.event_name(event_type), parse(data))
            self._recorder.add(fact)
            if self._on_seen is not None:
                self._on_seen(fact)
        self._recorder.add(Position(now, self.name, batch.resource_version, batch.initial_events_end))
        self._listing = self._listing and not batch.initial_events_end
        if not self._listing:
            # Before that a position means nothing: who breaks off then begins anew.
            self._resume = self.position = max(self.position, batch.resource_version)
            self.initial_end.set()

    def on_watch_end(self, error: StatusError) -> None:
        if error.reason == "Expired":
            self._resume = None
        self._ended(f"{error.code.name}: {error.message}")

    def _fact(self, now: float, event: str, message: Any) -> PodSeen | NodeSeen:
        make = reading.pod_seen if self._kind is PODS else reading.node_seen
        return make(now, self.name, self._mux.partition, event, message)

    def _ended(self, error: str) -> None:
        self._subscription = None
        self._recorder.add(WatchEnded(self._clock.monotonic(), self.name, self._resume, error))
        self._mux.after(self._rand.uniform(*_PAUSE_S), self._open)

    def _open(self) -> None:
        self._listing = self._resume is None
        if self._listing:
            self.position = 0
            if self._on_reset is not None:
                self._on_reset()
        now = self._clock.monotonic()
        self._recorder.add(WatchBegan(now, self.name, self._mux.partition, self._kind.resource, self._resume))
        request = watch_request(
            tenant="*" if self._kind is PODS else "",
            namespace="",
            label_selector="",
            field_selector="",
            resource_version=self._resume,
            send_initial_events=self._resume is None,
            bookmarks=True,
        )
        self._subscription = self._mux.subscribe(self._kind, request, self)
