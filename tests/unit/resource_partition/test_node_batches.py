"""A batch of Nodes goes two ways, with its ledgers and without: what one way refuses says nothing of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.api import keys, wire
from services.api.kinds import CAPACITY_CLAIMS, CAPACITY_LEDGERS, NODES
from services.storage.errors import QueueFull
from services.storage.interface import Record, Write
from services.storage.memory import MemoryBackend
from tests.unit.resource_partition.world import Server, node


class FullOnce:
    """A transactor whose queue can be full."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self.full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def transact_batch(
        self, transactions: Sequence[Sequence[Write]]
    ) -> Sequence[Sequence[Record | None] | Exception]:
        if self.full:
            raise QueueFull("the commit queue")
        return await self._backend.transact_batch(transactions)


async def test_a_node_that_is_written_is_told_although_those_with_a_ledger_are_refused() -> None:
    backend = MemoryBackend()
    transactor = FullOnce(backend)
    nodes, claims, ledgers = (
        backend.store(keys.prefix(kind), kind.attributes) for kind in (NODES, CAPACITY_CLAIMS, CAPACITY_LEDGERS)
    )
    server = Server(nodes, claims, ledgers, transactor)
    old = node("old")
    await server.put_node(old)
    held = server.nodes.peek(keys.key_of(NODES, old))
    assert held is not None
    old.metadata.labels["zone"] = "a"
    transactor.full = True
    outcomes = await server.nodes.write_batch(
        [
            Write(held.key, wire.canonical(old), held.revision),
            Write(keys.key_of(NODES, node("new")), wire.canonical(node("new")), 0),
        ]
    )
    assert isinstance(outcomes[0], Record) and isinstance(outcomes[1], QueueFull)
