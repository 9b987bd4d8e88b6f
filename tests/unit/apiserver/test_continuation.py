"""Continue tokens are opaque and good for one query of one partition only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.continuation import ContinueTokens, Position
from services.rpc.status import StatusError


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


@given(position=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=127))
async def test_a_changed_token_is_refused(position: int, flip: int) -> None:
    token = await tokens().make(Position(17, "/ursa/pods/acme/default/web"), "pods")
    at = position % len(token)
    changed = token[:at] + chr(ord(token[at]) ^ flip) + token[at + 1 :]
    with pytest.raises(StatusError):
        await tokens().read(changed, "pods")
