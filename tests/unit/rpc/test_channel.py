"""Targets of channels."""

from __future__ import annotations

import pytest

from services.rpc.channel import target_of


def test_one_endpoint_is_left_to_grpc_to_resolve() -> None:
    assert target_of(["tp-1:7110"]) == "dns:///tp-1:7110"


def test_several_addresses_are_one_target() -> None:
    assert target_of(["127.0.0.1:7110", "127.0.0.2:7111"]) == "ipv4:127.0.0.1:7110,127.0.0.2:7111"
    assert target_of(["[::1]:1", "[::2]:2"]) == "ipv6:[::1]:1,[::2]:2"


@pytest.mark.parametrize("endpoints", [[], ["nonsense", "127.0.0.1:1"], ["host:", "a:1"], [":17", "a:1"]])
def test_what_is_no_endpoint_is_refused(endpoints: list[str]) -> None:
    with pytest.raises(ValueError, match=r"host:port|at least one"):
        target_of(endpoints)
