"""Ledgers as they are stored: parsed with their revision, and written back on condition that it still stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.api import keys, wire
from services.api.kinds import CAPACITY_LEDGERS
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityLedger
from services.placement.ledger import Ledger
from services.placement.resources import Amounts
from services.resource_partition import claimwire
from services.storage.interface import Lane, Record, Write

LEDGERS_PREFIX = keys.prefix(CAPACITY_LEDGERS)

Begin = Callable[[Any], None]
"""Gives the metadata of a new object what the server owns: UID, generation, time."""

_ALLOCATABLES_MAX = 1024


class StoredLedger:
    """A node's ledger at ``revision``; None at 0: there is none. A value.

    ``value``: as it is stored. Most moves change the claimed totals and nothing else, and most ledgers end with them:
    ``_head`` is what stands before; None: more than totals follows.
    """

    __slots__ = ("_head", "key", "ledger", "name", "revision", "value")

    def __init__(
        self,
        name: str,
        ledger: Ledger | None = None,
        revision: int = 0,
        value: bytes | None = None,
        head: bytes | None = None,
    ) -> None:
        self.name = name
        self.key = LEDGERS_PREFIX + name
        self.ledger = ledger
        self.revision = revision
        self.value = value
        self._head = head

    @classmethod
    def of(cls, name: str, record: Record | None) -> StoredLedger:
        """``record`` None: the key holds nothing."""
        if record is None:
            return cls(name)
        value = record.value
        view = claimwire.LedgerView.FromString(value)
        if not (view.claimed or view.host_ports or view.promises):
            ledger = Ledger(view.node_uid, _allocatable(tuple(view.allocatable), value))
            return cls(name, ledger, record.revision, value, value)
        ledger = Ledger.of(CapacityLedger.FromString(value))
        return cls(name, ledger, record.revision, value, _head_of(value, ledger))

    def write(self, after: Ledger | None, begin: Begin, lane: Lane) -> Write | None:
        """The write that makes it ``after``; None: there is none and none is wanted."""
        if after is None:
            return Write(self.key, None, self.revision, lane) if self.revision else None
        if self._takes_totals(after) and self._head is not None:
            return Write(self.key, self._head + _totals(after), self.revision, lane)
        message = CapacityLedger()
        if self.value is None:
            message.metadata.name = self.name
            begin(message.metadata)
        else:
            message.MergeFromString(self.value)
        if self._takes_totals(after):
            after.write_totals_to(message)
        else:
            after.write_to(message)
        return Write(self.key, wire.canonical(message), self.revision, lane)

    def written(self, after: Ledger | None, record: Record | None) -> StoredLedger:
        """What it is once ``after`` was stored as ``record``."""
        if record is None or after is None:
            return StoredLedger(self.name)
        head = self._head if self._takes_totals(after) else _head_of(record.value, after)
        return StoredLedger(self.name, after, record.revision, record.value, head)

    def _takes_totals(self, after: Ledger) -> bool:
        return self.ledger is not None and after.differs_in_totals_only(self.ledger)


def _head_of(value: bytes, ledger: Ledger) -> bytes | None:
    if ledger.host_ports or ledger.promises:
        return None
    totals = _totals(ledger)
    return value[: len(value) - len(totals)] if value.endswith(totals) else None


def _totals(ledger: Ledger) -> bytes:
    claimed = ledger.claimed
    return b"".join([claimwire.total(partition, claimed[partition]) for partition in sorted(claimed)])


_allocatables: dict[claimwire.Entries, Amounts] = {}


def _allocatable(entries: claimwire.Entries, value: bytes) -> Amounts:
    """The same one for all nodes that have as much to give."""
    found = _allocatables.get(entries)
    if found is None:
        if len(_allocatables) >= _ALLOCATABLES_MAX:
            _allocatables.clear()
        found = _allocatables[entries] = dict(CapacityLedger.FromString(value).allocatable)
    return found
