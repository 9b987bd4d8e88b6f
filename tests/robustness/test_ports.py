"""Two runs at once never share a port, even while the processes of one are down."""

from __future__ import annotations

from tests.robustness.ports import BLOCK, port_block


def test_two_blocks_share_nothing() -> None:
    with port_block() as mine, port_block() as other:
        assert not {mine.take() for _ in range(BLOCK - 1)} & {other.take() for _ in range(BLOCK - 1)}
