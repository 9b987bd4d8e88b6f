"""A member of etcd that is cut off from the others and not from us: it answers, and knows no leader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.api.selectors import EVERYTHING
from services.base.clock import SystemClock
from services.storage.errors import Unavailable
from services.storage.etcd import EtcdBackend
from services.storage.interface import ListQuery, WatchQuery, Write
from services.storage.testing.world import attributes_of, next_events, pod
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, insist, key
from tests.support.etcd import EtcdProcess, find_binary, free_port, running_cluster
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.etcd

PORTS = range(17_700, 17_900)
MEMBERS = 3


@dataclass
class Cluster:
    """Members that reach each other through ``proxies`` only, in the same order; clients reach them directly."""

    members: list[EtcdProcess]
    proxies: list[TcpProxy]

    def cut_off(self, index: int, member_id: int) -> None:
        """Neither may it call others nor others it: a member says in each request who it is."""
        mine = f"x-server-from: {member_id:x}\r\n".encode()
        for number, proxy in enumerate(self.proxies):
            proxy.refuse = (lambda first: True) if number == index else (lambda first: mine in first.lower())
            proxy.cut_refused()

    def join_again(self) -> None:
        for proxy in self.proxies:
            proxy.refuse = lambda first: False


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    async with contextlib.AsyncExitStack() as stack:
        peers = [free_port(PORTS) for _ in range(MEMBERS)]
        proxies = [await stack.enter_async_context(TcpProxy(free_port(PORTS), peer)) for peer in peers]
        running = running_cluster(MEMBERS, peer_ports=peers, advertised_peer_ports=[proxy.port for proxy in proxies])
        # In a thread, as they find each other through proxies that this loop serves.
        members = await asyncio.to_thread(running.__enter__)
        stack.callback(running.__exit__, None, None, None)
        yield Cluster(members, proxies)


@pytest.mark.parametrize("which", ["the leader", "a follower"])
async def test_reads_writes_and_watches_go_on_through_another_member(cluster: Cluster, which: str) -> None:
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        probes = [await stack.enter_async_context(backend_of(member.endpoint)) for member in cluster.members]
        for probe in probes:
            await probe.wait_ready()
        statuses = [await probe.calls.status() for probe in probes]
        led = [status.leader == status.header.member_id for status in statuses]
        victim = led.index(which == "the leader")
        order = [cluster.members[victim], *(each for each in cluster.members if each is not cluster.members[victim])]
        # It talks to the first it reaches.
        backend = await stack.enter_async_context(backend_of(*(member.endpoint for member in order)))
        await backend.wait_ready()
        assert (await backend.calls.status()).header.member_id == statuses[victim].header.member_id
        cached = await stack.enter_async_context(cached_over(backend.store(PREFIX, attributes_of)))
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        first = await insist(cached, Write(key("first"), pod("first"), 0))
        assert await next_events(watcher, 1) == [("ADDED", "first", first.revision)]

        cluster.cut_off(victim, statuses[victim].header.member_id)
        began_s = clock.monotonic()
        await _not_ready(probes[victim])
        second = await insist(cached, Write(key("second"), pod("second"), None))
        async with asyncio.timeout(10):
            # The watch on the member that was cut off knew nothing of it.
            assert [name for _, name, _ in await next_events(watcher, 1)] == ["second"]
            while True:
                with contextlib.suppress(Unavailable):
                    page = await cached.list(ListQuery(PREFIX, EVERYTHING))
                    break
        assert {record.key for record in page.records} == {first.key, second.key}
        assert (await backend.calls.status()).header.member_id != statuses[victim].header.member_id
        assert clock.monotonic() - began_s < 20.0
        await backend._health.look()
        assert backend.ready and not probes[victim].ready

        cluster.join_again()
        async with asyncio.timeout(20):
            while not probes[victim].ready:  # noqa: ASYNC110 (nothing tells the moment)
                await asyncio.sleep(0.05)
        assert (await probes[victim].store(PREFIX, attributes_of).get(second.key)).revision == second.revision


async def _not_ready(probe: EtcdBackend) -> None:
    async with asyncio.timeout(15):
        while probe.ready:
            await probe._health.look()
            await asyncio.sleep(0.05)


async def test_a_backend_that_starts_beside_a_member_without_a_leader_uses_another(cluster: Cluster) -> None:
    async with backend_of(cluster.members[0].endpoint) as probe:
        await probe.wait_ready()
        cluster.cut_off(0, (await probe.calls.status()).header.member_id)
        await _not_ready(probe)
    async with backend_of(*(member.endpoint for member in cluster.members)) as backend, asyncio.timeout(5):
        await backend.wait_ready()
        async with cached_over(backend.store(PREFIX, attributes_of)) as cached:
            assert await cached.write(Write(key("a"), pod("a"), 0)) is not None
