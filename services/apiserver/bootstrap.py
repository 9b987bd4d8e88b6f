"""What a partition holds from its first start on: written at every start, tried until it is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from services.api import keys, wire
from services.api.kinds import Kind
from services.apiserver.servicer import ApiServer
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.rpc.status import StatusError
from services.storage import errors as storage
from services.storage.interface import Record

_LOG = logging.getLogger(__name__)


class Bootstrap:
    """``objects`` in order: each is created, or its specification brought up to date."""

    def __init__(self, api: ApiServer, objects: Sequence[tuple[Kind, Any]], clock: Clock, rand: Rand) -> None:
        self._api = api
        self._objects = objects
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.1, maximum_s=2.0)
        self.done = False

    async def run(self) -> None:
        """Return when all is written. Retries for as long as the store cannot be reached."""
        for kind, obj in self._objects:
            while not await self._settled(kind, obj):
                await self._clock.sleep(self._backoff.next())
            self._backoff.reset()
        self.done = True

    async def _settled(self, kind: Kind, obj: Any) -> bool:
        try:
            await self._ensure(kind, obj)
        except (storage.StorageError, StatusError) as failure:
            _LOG.warning("bootstrap waits", extra={"kind": kind.name, "object": obj.metadata.name, "why": str(failure)})
            return False
        return True

    async def _ensure(self, kind: Kind, obj: Any) -> None:
        writes = self._api.writes[kind.resource]
        fresh = kind.message()
        fresh.CopyFrom(obj)
        try:
            await writes.create_object(fresh)
        except storage.KeyExists:
            if kind.scope.name == "CLUSTER" and kind.has_spec:
                await writes.change_object(keys.key_of(kind, obj), lambda record: _with_spec(kind, record, obj))


def _with_spec(kind: Kind, record: Record, wanted: Any) -> bytes:
    """``record``'s value, with the specification of ``wanted`` if it differs."""
    old: Any = kind.message.FromString(record.value)
    if old.spec == wanted.spec:
        return record.value
    old.spec.CopyFrom(wanted.spec)
    old.metadata.generation += 1
    return wire.canonical(old)
