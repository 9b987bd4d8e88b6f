"""Continue tokens are opaque and good for one query of one partition only."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.apiserver.continuation import ContinueTokens, Position
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.rpc.status import StatusError
from services.storage.errors import Unavailable


def tokens(partition: str = "tp-1", key: bytes = b"k" * 32) -> ContinueTokens:
    async def load() -> bytes:
        return key

    return ContinueTokens(partition, load)


async def test_another_server_with_the_same_key_reads_it() -> None:
    position = Position(17, "/ursa/pods/acme/default/web")
    token = await tokens().make(position, "pods")
    assert await tokens().read(token, "pods") == position


async def test_another_partition_query_or_key_refuses_it() -> None:
    token = await tokens().make(Position(17, "/ursa/pods/acme/default/web"), "pods")
    for reader, query in (
        (tokens("tp-2"), "pods"),
        (tokens(key=b"x" * 32), "pods"),
        (tokens(), "nodes"),
    ):
        with pytest.raises(StatusError) as caught:
            await reader.read(token, query)
        assert caught.value.violations[0].field == "continue"


@example(position=805, flip=8)
@given(position=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=127))
async def test_a_changed_token_is_refused(position: int, flip: int) -> None:
    token = await tokens().make(Position(17, "/ursa/pods/acme/default/web"), "pods")
    at = position % len(token)
    changed = token[:at] + chr(ord(token[at]) ^ flip) + token[at + 1 :]
    with pytest.raises(StatusError):
        await tokens().read(changed, "pods")


async def test_the_key_is_loaded_as_soon_as_the_store_can_be_reached() -> None:
    clock = FakeClock()
    answers: list[Exception | bytes] = [Unavailable("down"), Unavailable("down"), b"k" * 32]

    async def load() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    early = ContinueTokens("tp-1", load)
    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(early.load(clock, Rand()))
        while not loading.done():
            assert not early.loaded
            await clock.advance(1.0)
    # No further answer is left: the key is not asked for again.
    assert early.loaded
    position = Position(17, "/ursa/pods/acme/default/web")
    assert await early.make(position, "pods") == await tokens().make(position, "pods")
