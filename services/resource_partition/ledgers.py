"""Ledgers as they are stored: parsed with their revision, and written back on condition that it still stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.api import keys, wire
from services.api.kinds import CAPACITY_LEDGERS
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityLedger
from services.placement.ledger import Ledger
from services.storage.interface import Lane, Record, Write

LEDGERS_PREFIX = keys.prefix(CAPACITY_LEDGERS)

Begin = Callable[[Any], None]
"""Gives the metadata of a new object what the server owns: UID, generation, time."""


@dataclass(frozen=True, slots=True)
class StoredLedger:
    """A node's ledger at ``revision``; None at 0: there is none. ``message``: as it is stored."""

    name: str
    ledger: Ledger | None = None
    revision: int = 0
    message: CapacityLedger | None = None

    @property
    def key(self) -> str:
        return LEDGERS_PREFIX + self.name

    @classmethod
    def of(cls, name: str, record: Record | None) -> StoredLedger:
        """``record`` None: the key holds nothing."""
        if record is None:
            return cls(name)
        message = CapacityLedger.FromString(record.value)
        return cls(name, Ledger.of(message), record.revision, message)

    def write(self, after: Ledger | None, begin: Begin, lane: Lane) -> Write | None:
        """The write that makes it ``after``; None: there is none and none is wanted."""
        if after is None:
            return Write(self.key, None, self.revision, lane) if self.revision else None
        message = self._message_of(after)
        if self.message is None:
            message.metadata.name = self.name
            begin(message.metadata)
        return Write(self.key, wire.canonical(message), self.revision, lane)

    def _message_of(self, after: Ledger) -> CapacityLedger:
        message = CapacityLedger()
        if self.message is not None:
            message.CopyFrom(self.message)
        if self.ledger is not None and after.differs_in_totals_only(self.ledger):
            after.write_totals_to(message)
        else:
            after.write_to(message)
        return message

    def written(self, after: Ledger | None, record: Record | None) -> StoredLedger:
        """What it is once ``after`` was stored as ``record``."""
        if record is None or after is None:
            return StoredLedger(self.name)
        if self.message is None:
            return StoredLedger.of(self.name, record)
        # The message serves for what totals do not change; it is replaced when something else does.
        if self.ledger is not None and after.differs_in_totals_only(self.ledger):
            return StoredLedger(self.name, after, record.revision, self.message)
        return StoredLedger(self.name, after, record.revision, CapacityLedger.FromString(record.value))
