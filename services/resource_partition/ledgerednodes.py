"""The store of Nodes, each written together with its ledger: what a node can give changes in both or in neither.

The ledger has its own copy of the node's UID and allocatable, and outlives the Node while it has claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from services.api import keys
from services.api.kinds import NODES
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.placement.ledger import node_changed
from services.resource_partition.ledgers import LEDGERS_PREFIX, Begin, StoredLedger
from services.storage.checks import check_distinct
from services.storage.errors import KeyExists, KeyNotFound, OutcomeUnknown, PreconditionFailed, StorageError
from services.storage.interface import (
    Lane,
    ListQuery,
    Page,
    Record,
    ResourceStore,
    Transactor,
    Watcher,
    WatchQuery,
    Write,
)

_NODES_PREFIX = keys.prefix(NODES)
# Lost races after which a write gives up; each means that a claim on that very node was faster.
_ATTEMPTS = 64

Outcomes = list[Record | Exception | None]


class LedgeredNodes:
    """A ``ResourceStore``: ``nodes`` with every write that concerns the ledger in a transaction with it."""

    def __init__(self, nodes: ResourceStore, ledgers: ResourceStore, transactor: Transactor, begin: Begin) -> None:
        self._nodes = nodes
        self._ledgers = ledgers
        self._transactor = transactor
        self._begin = begin

    # -- reads

    @property
    def ready(self) -> bool:
        return self._nodes.ready

    async def get(self, key: str, revision: int | None = None) -> Record:
        return await self._nodes.get(key, revision)

    def peek(self, key: str) -> Record | None:
        return self._nodes.peek(key)

    async def list(self, query: ListQuery) -> Page:
        return await self._nodes.list(query)

    def count(self, prefix: str) -> int:
        return self._nodes.count(prefix)

    async def watch(self, query: WatchQuery) -> Watcher:
        return await self._nodes.watch(query)

    # -- writes

    async def write(self, write: Write) -> Record | None:
        outcome = (await self.write_batch((write,)))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        check_distinct(writes)
        outcomes: Outcomes = [None] * len(writes)
        alone = [index for index, write in enumerate(writes) if self._leaves_ledger(write)]
        with_ledger = sorted(set(range(len(writes))).difference(alone))

        async def write_alone() -> None:
            results: Sequence[Record | Exception | None]
            try:
                results = await self._nodes.write_batch([writes[index] for index in alone])
            except StorageError as failure:
                # Of these alone: the others may be written.
                results = [failure] * len(alone)
            for index, result in zip(alone, results, strict=True):
                outcomes[index] = result

        await asyncio.gather(
            *((write_alone(),) if alone else ()),
            *((self._write_with_ledger(writes, with_ledger, outcomes),) if with_ledger else ()),
        )
        return outcomes

    def _leaves_ledger(self, write: Write) -> bool:
        """Is it sure that the ledger stays as it is? What a Node at a revision implied for its ledger was stored with
        that revision, so it is enough to compare the two states of the Node."""
        if write.value is None or not write.expected_revision:
            return False
        before = self._nodes.peek(write.key)
        if before is None or before.revision != write.expected_revision:
            return False
        if self._ledgers.peek(LEDGERS_PREFIX + _name(write)) is None:
            return False
        old, new = Node.FromString(before.value), Node.FromString(write.value)
        return (
            old.metadata.uid == new.metadata.uid
            and old.status.allocatable == new.status.allocatable
            and (bool(new.status.allocatable) or old.status.capacity == new.status.capacity)
        )

    async def _write_with_ledger(self, writes: Sequence[Write], indexes: Sequence[int], outcomes: Outcomes) -> None:
        pending = {index: await self._begun(writes[index]) for index in indexes}
        for _ in range(_ATTEMPTS):
            transactions: list[Sequence[Write]] = []
            tried: list[int] = []
            for index, begun in pending.items():
                if isinstance(begun, Exception):
                    outcomes[index] = begun
                    continue
                transactions.append(self._transaction(*begun))
                tried.append(index)
            if not tried:
                return
            results: Sequence[Sequence[Record | None] | Exception]
            try:
                results = await self._transactor.transact_batch(transactions)
            except StorageError as failure:
                # Of this round alone: those of earlier ones may be written.
                results = [failure] * len(transactions)
            retried: dict[int, tuple[Write, StoredLedger] | StorageError] = {}
            for index, transaction, result in zip(tried, transactions, results, strict=True):
                if not isinstance(result, Exception):
                    outcomes[index] = result[0]
                elif _lost(result, transaction[1:]):
                    held = result.record if isinstance(result, KeyExists | PreconditionFailed) else None
                    retried[index] = transaction[0], StoredLedger.of(_name(transaction[0]), held)
                elif _lost(result, transaction[:1]) and writes[index].expected_revision is None:
                    retried[index] = await self._begun(writes[index])
                else:
                    outcomes[index] = _of_the_node(result, transaction[0])
            pending = retried
        for index in pending:
            # As for every write that lost too many races: the reader of the Node decides what now.
            outcomes[index] = PreconditionFailed(writes[index].key, await self._held(writes[index].key))

    async def _begun(self, write: Write) -> tuple[Write, StoredLedger] | StorageError:
        """The write with what it expects, and the ledger that it changes."""
        name = _name(write)
        try:
            if write.expected_revision is None:
                held = await self._held(write.key)
                if write.value is None and held is None:
                    return KeyNotFound(write.key)
                write = replace(write, expected_revision=held.revision if held is not None else 0)
            record = self._ledgers.peek(LEDGERS_PREFIX + name)
            if record is None and write.expected_revision:
                # Not as sure as for a new Node, whose ledger would be found to exist.
                try:
                    record = await self._ledgers.get(LEDGERS_PREFIX + name)
                except KeyNotFound:
                    record = None
        except StorageError as failure:
            return failure
        return write, StoredLedger.of(name, record)

    def _transaction(self, write: Write, stored: StoredLedger) -> Sequence[Write]:
        """The Node's write first: of two expectations that do not hold, its own is the one to tell."""
        if stored.revision:
            write = replace(write, lane=Lane.SYSTEM)  # claims on this node would wait behind it
        node = Node.FromString(write.value) if write.value is not None else None
        own = stored.write(node_changed(stored.ledger, node), self._begin, write.lane)
        return [write] if own is None else [write, own]

    async def _held(self, key: str) -> Record | None:
        try:
            return await self._nodes.get(key)
        except KeyNotFound:
            return None


def _name(write: Write) -> str:
    return write.key[len(_NODES_PREFIX) :]


def _lost(failure: Exception, writes: Sequence[Write]) -> bool:
    return isinstance(failure, KeyExists | KeyNotFound | PreconditionFailed) and any(
        write.key == failure.key for write in writes
    )


def _of_the_node(failure: Exception, write: Write) -> Exception:
    return OutcomeUnknown(write.key, str(failure)) if isinstance(failure, OutcomeUnknown) else failure
