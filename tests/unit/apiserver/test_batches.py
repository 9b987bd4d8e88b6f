"""A batch says of each item what became of it, also when storage refuses a later round of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.api.kinds import NODES
from services.api.pb.ursa.core.v1.node_service_pb2 import BatchNodesRequest
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.apiserver.commit import Change, change_batch
from services.apiserver.creation import Creates, Makers
from services.apiserver.resource import Resource
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.storage.errors import QueueFull, StorageError, Unavailable
from services.storage.interface import Record, Write
from services.storage.memory import MemoryBackend, MemoryStore

PREFIX = "/ursa/nodes/"


class Refusing:
    """A store whose ``refused`` round of writes, and all after it, are refused. Rounds count from 1."""

    def __init__(self, store: MemoryStore, refused: int, failure: StorageError) -> None:
        self._store = store
        self._refused = refused
        self._failure = failure
        self.rounds = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write_batch(self, writes: Sequence[Write]) -> Sequence[Record | Exception | None]:
        self.rounds += 1
        if self.rounds >= self._refused:
            raise self._failure
        return await self._store.write_batch(writes)


class OneTenant:
    async def require(self, tenant: str) -> None:
        return None


class SameSuffix(Rand):
    """Generated names collide."""

    def name_suffix(self, length: int = 5) -> str:
        return "x" * length


def plain_store() -> MemoryStore:
    return MemoryBackend(clock=FakeClock()).store(PREFIX, NODES.attributes)


def creates(store: Any, rand: Rand | None = None) -> Creates:
    makers = Makers(FakeClock(), rand or Rand(), lambda: "uid")
    return Creates(Resource(NODES, store), OneTenant(), (), makers, traced=False)


def request(*names: str, generate_name: str = "") -> bytes:
    wanted = BatchNodesRequest()
    for name in names:
        wanted.objects.add().metadata.name = name
    for _ in range(2 if generate_name else 0):
        wanted.objects.add().metadata.generate_name = generate_name
    return wanted.SerializeToString()


def reasons(answer: bytes) -> list[str]:
    return [
        "" if outcome.resource_version else outcome.status.message
        for outcome in BatchResponse.FromString(answer).outcomes
    ]


@pytest.mark.parametrize("failure", [QueueFull("the queue"), Unavailable("the store is down")], ids=["full", "down"])
async def test_creates_that_are_committed_are_told_although_the_rest_is_refused(failure: StorageError) -> None:
    store = Refusing(plain_store(), 2, failure)
    told = reasons(await creates(store).batch_create(request("a", "b", "a"), None))  # type: ignore[arg-type]
    assert told[:2] == ["", ""] and told[2]
    assert store.count(PREFIX) == 2


async def test_a_generated_name_that_collided_is_refused_alone() -> None:
    store = Refusing(plain_store(), 2, QueueFull("the queue"))
    answer = await creates(store, SameSuffix()).batch_create(request(generate_name="n-"), None)  # type: ignore[arg-type]
    told = reasons(answer)
    assert told[0] == "" and told[1]
    assert store.count(PREFIX) == 1


async def test_creates_of_which_none_is_committed_are_refused_as_a_whole() -> None:
    store = Refusing(plain_store(), 1, QueueFull("the queue"))
    with pytest.raises(QueueFull):
        await creates(store).batch_create(request("a", "b", "a"), None)  # type: ignore[arg-type]


def grown(record: Record) -> bytes:
    return record.value + b"x"


async def test_changes_that_are_committed_are_told_although_the_rest_is_refused() -> None:
    plain = plain_store()
    for name in "ab":
        await plain.write(Write(PREFIX + name, b"", 0))
    store = Refusing(plain, 2, QueueFull("the queue"))
    items = [(PREFIX + name, grown) for name in "aba"]
    outcomes = await change_batch(Resource(NODES, store), items)  # type: ignore[arg-type]
    assert [type(outcome) for outcome in outcomes] == [Change, Change, QueueFull]


async def test_changes_are_told_although_no_lease_is_to_be_had_for_the_rest() -> None:
    plain = plain_store()
    await plain.write(Write(PREFIX + "a", b"", 0))
    asked: list[int] = []

    async def lease(_value_bytes: int) -> int:
        asked.append(1)
        if len(asked) > 1:
            raise Unavailable("no lease")
        return 7

    items = [(PREFIX + "a", grown)] * 2
    outcomes = await change_batch(Resource(NODES, plain, lease), items)
    assert [type(outcome) for outcome in outcomes] == [Change, Unavailable]


async def test_changes_of_which_none_is_committed_are_refused_as_a_whole() -> None:
    plain = plain_store()
    await plain.write(Write(PREFIX + "a", b"", 0))
    with pytest.raises(Unavailable):
        await change_batch(Resource(NODES, Refusing(plain, 1, Unavailable("down"))), [(PREFIX + "a", grown)])  # type: ignore[arg-type]
