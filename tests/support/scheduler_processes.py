"""Tenant partitions with a scheduler each, and one resource partition, as real processes over real etcds."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant
from services.client.partitions import Connection
from services.placement.ledger import Ledger
from tests.support.client_world import pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import HOST, Process, connection, eventually
from tests.support.scheduling import make_node

RESOURCE_PARTITION = "rp-1"


@dataclass
class Schedulers:
    """``tenants[tp]`` is the one tenant of a partition. ``endpoints``: where schedulers are told to go, if not to
    the servers themselves (a proxy may stand there)."""

    directory: pathlib.Path
    ports: dict[str, int]
    tenants: dict[str, str]
    endpoints: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)

    def endpoint(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    async def start(self) -> None:
        for name in self.ports:
            await self._etcd(name).start()
        for name in self.ports:
            await self._server(name).start()
        for name, tenant in self.tenants.items():
            await eventually(lambda name=name, tenant=tenant: self._create_tenant(name, tenant), what=tenant)  # type: ignore[misc]

    async def start_schedulers(self, **settings: float) -> None:
        for name in self.tenants:
            await self._scheduler(name, settings).start()

    async def add_nodes(self, count: int, **shape: str) -> None:
        nodes = self.connections[RESOURCE_PARTITION].clientset.nodes
        made = [make_node(f"node-{number:03d}", **shape) for number in range(count)]
        bare = [Node(metadata=ObjectMeta(name=node.metadata.name), spec=node.spec) for node in made]
        assert all(outcome.status is None for outcome in await nodes.batch_create(bare))
        for node in made:
            node.metadata.ClearField("uid")
        assert all(outcome.status is None for outcome in await nodes.batch_update_status(made))

    async def add_pods(self, partition: str, names: Sequence[str], cpu: str) -> None:
        made = [pod(name, tenant=self.tenants[partition], cpu=cpu) for name in names]
        outcomes = await self.connections[partition].clientset.pods.batch_create(made)
        assert all(outcome.status is None for outcome in outcomes), outcomes

    async def pods(self) -> list[Pod]:
        """Of all tenant partitions."""
        found: list[Pod] = []
        for name, tenant in self.tenants.items():
            found += (await self.connections[name].clientset.pods.list(tenant=tenant, namespace="default")).items
        return found

    async def until_bound(self, count: int, *, seconds: float = 60.0) -> list[Pod]:
        """All pods, once so many are bound."""

        async def enough() -> bool:
            return sum(bool(found.spec.node_name) for found in await self.pods()) >= count

        await eventually(enough, seconds=seconds, what=f"{count} pods bound")
        return await self.pods()

    async def assert_sound(self, pods: Sequence[Pod], *, per_node: int) -> None:
        """No node has more than ``per_node``, each bound pod has its claim where it is, and there is no other claim."""
        bound = {found.metadata.uid: found for found in pods if found.spec.node_name}
        assert max(Counter(found.spec.node_name for found in bound.values()).values()) <= per_node
        assert all(found.spec.capacity_claimed for found in bound.values())
        clients = self.connections[RESOURCE_PARTITION].clientset

        async def claims_are_those_of_bound_pods() -> bool:
            claims = (await clients.capacity_claims.list()).items
            return {claim.metadata.name: claim.spec.node_name for claim in claims} == {
                uid: found.spec.node_name for uid, found in bound.items()
            }

        await eventually(claims_are_those_of_bound_pods, what="no claim but those of bound pods")
        for message in (await clients.capacity_ledgers.list()).items:
            ledger = Ledger.of(message)
            assert all(used <= ledger.allocatable[resource] for resource, used in ledger.used.items())

    async def _create_tenant(self, name: str, tenant: str) -> bool:
        await self.connections[name].clientset.tenants.create(Tenant(metadata=ObjectMeta(name=tenant)))
        return True

    def _etcd(self, name: str) -> Process:
        port = self.ports[name]
        client, peer = f"http://{HOST}:{port + 2}", f"http://{HOST}:{port + 3}"
        command = [find_binary() or "etcd", "--name", name, "--data-dir", str(self.directory / f"data-{name}")]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
        command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"{name}={peer}"]
        command += ["--max-txn-ops", "4096", "--log-level", "error"]
        return self._process(f"etcd-{name}", command)

    def _server(self, name: str) -> Process:
        port = self.ports[name]
        tenant = name in self.tenants
        text = f'name = "{name}"\nlisten = "{HOST}:{port}"\n{"" if tenant else "placement_home = true"}\n'
        text += f'[etcd]\nendpoints = ["{HOST}:{port + 2}"]\nmax_txn_ops = 4096\n'
        text += f'[telemetry]\nmetrics_listen = "{HOST}:{port + 1}"\n'
        others = [RESOURCE_PARTITION] if tenant else list(self.tenants)
        for other in others:
            home = "placement_home = true\n" if tenant else ""
            kind = "resource_partitions" if tenant else "tenant_partitions"
            endpoint = self.endpoints.get(other, self.endpoint(other)) if tenant else self.endpoint(other)
            text += f'[[{kind}]]\nname = "{other}"\nendpoints = ["{endpoint}"]\n{home}'
        return self._python(name, "tenant_partition" if tenant else "resource_partition", text)

    def _scheduler(self, name: str, settings: dict[str, float]) -> Process:
        text = f'name = "scheduler-{name}"\nseed = 1\n[tenant_partition]\nname = "{name}"\n'
        text += f'endpoints = ["{self.endpoints.get(name, self.endpoint(name))}"]\n'
        text += f'[telemetry]\nmetrics_listen = "{HOST}:{self.ports[name] + 4}"\n[scheduling]\n'
        text += "".join(f"{key} = {value}\n" for key, value in settings.items())
        return self._python(f"scheduler-{name}", "scheduler", text)

    def _python(self, name: str, module: str, config: str) -> Process:
        file = self.directory / f"{name}.toml"
        file.write_text(config)
        return self._process(name, [sys.executable, "-m", f"services.{module}", "--config", str(file)])

    def _process(self, name: str, command: list[str]) -> Process:
        made = self.processes[name] = Process(name, command, self.directory)
        return made


@contextlib.asynccontextmanager
async def schedulers(
    directory: pathlib.Path, base_port: int, tenant_partitions: int = 2, **proxied: str
) -> AsyncIterator[Schedulers]:
    """Servers at work, no scheduler yet; all ended on leaving. ``proxied``: an endpoint by ``rp_1``, ``tp_1``."""
    names = [f"tp-{number + 1}" for number in range(tenant_partitions)] + [RESOURCE_PARTITION]
    ports = {name: base_port + 10 * index for index, name in enumerate(names)}
    tenants = {name: f"tenant-{name}" for name in names[:-1]}
    made = Schedulers(directory, ports, tenants, {key.replace("_", "-"): where for key, where in proxied.items()})
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            made.connections[name] = await stack.enter_async_context(connection(name, made.endpoint(name)))
        try:
            await made.start()
            yield made
        finally:
            for process in reversed(made.processes.values()):
                await process.kill()
