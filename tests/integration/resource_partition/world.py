"""Servers of one resource partition as processes over one etcd, their clients, and what the ledgers say."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import grpc.aio

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.integration.apiserver.world import eventually
from tests.support.etcd import EtcdProcess, free_port
from tests.support.kubelet_processes import Process

PORTS = range(23_800, 23_999)


@dataclass
class Server:
    """One server process, and a client of it alone."""

    process: Process
    endpoint: str
    channel: grpc.aio.Channel
    clients: Clientset = field(init=False)

    def __post_init__(self) -> None:
        self.clients = Clientset(self.channel)

    async def ready(self) -> None:
        async def there() -> bool:
            async for _ in _listed(self.clients):
                pass
            return bool(self.process.lines("ready"))

        await eventually(there, within_s=20)

    async def again(self) -> None:
        """Start it once more after a kill."""
        self.process.log.unlink(missing_ok=True)
        await self.process.start()
        await self.ready()


async def _listed(clients: Clientset) -> AsyncIterator[object]:
    page = await clients.nodes.list()
    for item in page.items:
        yield item


@dataclass
class World:
    servers: Sequence[Server]

    async def nodes(self, count: int, *, cpu: str, pods: str = "110") -> list[str]:
        names = [f"n{number:03}" for number in range(count)]
        wanted = []
        for name in names:
            node = Node()
            node.metadata.name = name
            node.status.capacity.update({"cpu": cpu, "memory": "64Gi", "pods": pods})
            wanted.append(node)
        await self.servers[0].clients.nodes.batch_create(wanted)
        return names

    async def ledgers(self) -> dict[str, CapacityLedger]:
        page = await self.servers[0].clients.capacity_ledgers.list()
        return {ledger.metadata.name: ledger for ledger in page.items}

    async def claims(self) -> dict[str, CapacityClaim]:
        page = await self.servers[0].clients.capacity_claims.list()
        return {claim.metadata.name: claim for claim in page.items}

    async def audit(self) -> Counter[str]:
        """Every ledger is the sum of its claims and within its allocatable; the held cpu of each node."""
        ledgers, claims = await self.ledgers(), await self.claims()
        cpu: Counter[str] = Counter()
        pods: Counter[str] = Counter()
        for claim in claims.values():
            cpu[claim.spec.node_name] += claim.spec.requests["cpu"]
            pods[claim.spec.node_name] += 1
        for name, ledger in ledgers.items():
            assert sum(total.requests["cpu"] for total in ledger.claimed) == cpu[name], name
            assert sum(total.pods for total in ledger.claimed) == pods[name], name
            assert cpu[name] <= ledger.allocatable["cpu"] and pods[name] <= ledger.allocatable["pods"], name
        assert set(cpu) <= set(ledgers)
        return cpu


@contextlib.asynccontextmanager
async def running(etcd: EtcdProcess, directory: pathlib.Path, servers: int) -> AsyncIterator[World]:
    found: list[Server] = []
    try:
        for number in range(servers):
            port = free_port(PORTS)
            file = directory / f"rp-{number}.toml"
            file.write_text(
                f'name = "rp-1"\nlisten = "127.0.0.1:{port}"\nplacement_home = true\n'
                f'[etcd]\nendpoints = ["{etcd.endpoint}"]\n'
                f'[telemetry]\nmetrics_listen = "127.0.0.1:{free_port(PORTS)}"\n'
            )
            command = [sys.executable, "-m", "services.resource_partition", "--config", str(file)]
            process = Process(f"rp-{number}", command, directory)
            await process.start()
            found.append(Server(process, f"127.0.0.1:{port}", make_channel([f"127.0.0.1:{port}"])))
        for server in found:
            await server.ready()
        yield World(found)
    finally:
        for server in found:
            await server.channel.close()
            await server.process.kill()


__all__ = ["Server", "StatusError", "World", "running"]
