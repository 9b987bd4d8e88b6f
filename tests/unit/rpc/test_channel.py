"""Targets of channels."""

from __future__ import annotations

import pytest

from services.rpc.channel import make_channel, target_of
from services.rpc.spread import SpreadChannel


@pytest.mark.parametrize("endpoint", ["tp-1:7110", "127.0.0.1:7110", "[::1]:7110"])
def test_an_endpoint_is_left_to_grpc_to_resolve(endpoint: str) -> None:
    assert target_of(endpoint) == f"dns:///{endpoint}"


async def test_one_endpoint_is_a_channel_of_grpc_itself() -> None:
    async with (
        make_channel(["127.0.0.1:1"]) as one,
        make_channel(["127.0.0.1:1", "[::1]:1", "nowhere.invalid:1"]) as three,
    ):
        assert not isinstance(one, SpreadChannel)
        assert isinstance(three, SpreadChannel)


@pytest.mark.parametrize("endpoints", [[], ["nonsense", "127.0.0.1:1"], ["host:", "a:1"], ["a:1", ":17"], ["nonsense"]])
def test_what_is_no_endpoint_is_refused(endpoints: list[str]) -> None:
    with pytest.raises(ValueError, match=r"host:port|at least one"):
        make_channel(endpoints)
