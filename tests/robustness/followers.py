"""Informers of ``services.client``, as components use them: what they tell their handlers, and what they hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from services.client.informer import Change, Informer
from services.client.partitions import Connection
from tests.robustness.history import Followed, Recorder, Selection
from tests.robustness.objects import KINDS


class Follower:
    """Starts at once; ``finish`` records what it holds and closes it."""

    def __init__(self, name: str, connection: Connection, selection: Selection, recorder: Recorder) -> None:
        self.name = name
        self._selection = selection
        self._recorder = recorder
        self.informer: Informer[Any] = Informer(
            connection.mux,
            KINDS[selection.kind],
            tenant=selection.tenant,
            namespace=selection.namespace,
            label_selector=selection.labels,
            field_selector=selection.fields,
            on_batch=self._changed,
        ).start()

    def finish(self) -> None:
        held = {key: obj.metadata.resource_version for key, obj in self.informer.store.items()}
        self._recorder.add(Followed(self.name, self._selection, time.monotonic(), held=held))
        self.informer.close()

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        steps = [(change.key, _revision(change.old), _revision(change.new)) for change in changes]
        self._recorder.add(Followed(self.name, self._selection, time.monotonic(), steps))


def _revision(obj: Any) -> int:
    return int(obj.metadata.resource_version) if obj is not None else 0
