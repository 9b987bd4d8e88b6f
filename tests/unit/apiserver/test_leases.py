"""Shared leases: how much expires at one revision."""

from __future__ import annotations

import asyncio

from services.apiserver.leases import BUCKET_S, LEASE_BYTES_MAX, LeaseBuckets
from services.base.clock import FakeClock


class Granting:
    """Grants leases that are numbered from 1 on."""

    def __init__(self) -> None:
        self.ttls: list[int] = []

    async def new_lease(self, ttl_s: int) -> int:
        await asyncio.sleep(0)
        self.ttls.append(ttl_s)
        return len(self.ttls)


async def test_what_is_written_in_a_minute_shares_a_lease() -> None:
    clock, granting = FakeClock(), Granting()
    buckets = LeaseBuckets(granting.new_lease, clock, ttl_s=100)
    assert [await buckets.lease_id(900) for _ in range(3)] == [1, 1, 1]
    await clock.advance(BUCKET_S)
    assert await buckets.lease_id(900) == 2
    assert granting.ttls == [100 + BUCKET_S] * 2


async def test_a_lease_owns_no_more_than_a_watch_message_can_tell_of() -> None:
    granting = Granting()
    buckets = LeaseBuckets(granting.new_lease, FakeClock())
    size_bytes = 900
    owners = await asyncio.gather(*(buckets.lease_id(size_bytes) for _ in range(20_000)))
    owned = [owners.count(lease) * size_bytes for lease in set(owners)]
    assert max(owned) <= LEASE_BYTES_MAX
    assert len(granting.ttls) == len(owned) == 5
