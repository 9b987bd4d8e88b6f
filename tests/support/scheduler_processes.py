"""Tenant partitions with a scheduler each, and resource partitions, as real processes over real etcds.

Ports of a partition, from its first: server, metrics, etcd (2), its scheduler's metrics, a second server and its
metrics, the controller manager's metrics, the hollow kubelets' metrics.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import ResourcePartition, ResourcePartitionSpec
from services.client.partitions import Connection
from services.placement.ledger import Ledger
from tests.support.client_world import pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import HOST, Process, connection, eventually
from tests.support.scheduling import make_node
from tests.support.tenants import make_tenant

RESOURCE_PARTITION = "rp-1"


@dataclass
class Schedulers:
    """``tenants[tp]`` is the one tenant of a partition. ``endpoints``: where schedulers are told to go, if not to
    the servers themselves (a proxy may stand there). ``twins``: resource partitions with two servers over one etcd.
    ``unannounced``: resource partitions that the tenant partitions' configuration does not name.
    """

    directory: pathlib.Path
    ports: dict[str, int]
    tenants: dict[str, str]
    endpoints: dict[str, str] = field(default_factory=dict)
    twins: Collection[str] = ()
    unannounced: Collection[str] = ()
    processes: dict[str, Process] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)

    def endpoint(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    @property
    def resource_partitions(self) -> list[str]:
        return [name for name in self.ports if name not in self.tenants]

    def endpoints_of(self, name: str) -> list[str]:
        """Where the servers of a partition are for others."""
        here = [self.endpoints.get(name, self.endpoint(name))]
        return [*here, f"{HOST}:{self.ports[name] + 5}"] if name in self.twins else here

    async def start(self) -> None:
        for name in self.ports:
            await self._etcd(name).start()
        for name in self.ports:
            await self._server(name).start()
            if name in self.twins:
                await self._server(name, second=True).start()
        for name, tenant in self.tenants.items():
            await make_tenant(self.connections[name].clientset, tenant)
        for name in self.resource_partitions:
            await eventually(lambda name=name: self._answers(name), what=f"an answer of {name}")  # type: ignore[misc]

    async def start_schedulers(self, **settings: float) -> None:
        for name in self.tenants:
            await self._scheduler(name, settings).start()

    async def start_scheduler(
        self, name: str, more: str = "", path: pathlib.Path | None = None, **settings: float
    ) -> None:
        """``more``: TOML after the rest of the file; ``path``: where else the process looks for modules."""
        await self._scheduler(name, settings, more, path).start()

    async def start_controllers(self) -> None:
        """The controller managers of the resource partitions: they reconcile claims."""
        for name in self.resource_partitions:
            text = f'name = "controller-{name}"\n[leader_election]\nenabled = false\n'
            text += f'[telemetry]\nmetrics_listen = "{HOST}:{self.ports[name] + 7}"\n'
            text += f'[resource_partition]\nname = "{name}"\nendpoints = ["{self.endpoint(name)}"]\n'
            await self._python(f"controllers-{name}", "controllers", text).start()

    async def start_kubelets(self, nodes: int, cpu: str, **more: object) -> None:
        """Hollow nodes in every resource partition."""
        for name in self.resource_partitions:
            text = f'name = "hollow-{name}"\n[telemetry]\nmetrics_listen = "{HOST}:{self.ports[name] + 8}"\n[[pools]]\n'
            text += f'resource_partition = "{name}"\nendpoints = ["{self.endpoint(name)}"]\nnodes = {nodes}\n'
            text += f'name_prefix = "hollow-{name}-"\ncapacity = {{ cpu = "{cpu}", memory = "64Gi", pods = "110" }}\n'
            text += "".join(f"{key} = {value}\n" for key, value in more.items())
            await self._python(f"hollow-{name}", "kubelet", text).start()

    async def announce(self, name: str, endpoints: Sequence[str] = ()) -> None:
        """Tell every tenant partition of a resource partition."""
        spec = ResourcePartitionSpec(endpoints=endpoints or self.endpoints_of(name))
        for tenant in self.tenants:
            made = ResourcePartition(metadata=ObjectMeta(name=name), spec=spec)
            await self.connections[tenant].clientset.resource_partitions.create(made)

    async def add_priority_class(self, partition: str, name: str, value: int) -> None:
        made = PriorityClass(metadata=ObjectMeta(name=name, tenant=self.tenants[partition]), value=value)
        await self.connections[partition].clientset.priority_classes.create(made)

    def metric(self, partition: str, metric: str, **labels: str) -> float:
        """The sum of a scheduler's metric over its other labels; blocks."""
        with urllib.request.urlopen(f"http://{HOST}:{self.ports[partition] + 4}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(metric) and all(label in line for label in wanted)
        )

    async def add_nodes(self, count: int, partition: str = RESOURCE_PARTITION, **shape: str) -> None:
        nodes = self.connections[partition].clientset.nodes
        made = [make_node(f"node-{number:03d}", **shape) for number in range(count)]
        bare = [Node(metadata=ObjectMeta(name=node.metadata.name), spec=node.spec) for node in made]
        assert all(outcome.status is None for outcome in await nodes.batch_create(bare))
        for node in made:
            node.metadata.ClearField("uid")
        assert all(outcome.status is None for outcome in await nodes.batch_update_status(made))

    async def add_pods(
        self,
        partition: str,
        names: Sequence[str],
        cpu: str,
        labels: Mapping[str, str] | None = None,
        grace_s: int | None = None,
        **spec: Any,
    ) -> None:
        if grace_s is not None:
            spec["termination_grace_period_seconds"] = grace_s
        made = [pod(name, tenant=self.tenants[partition], cpu=cpu, **spec) for name in names]
        for one in made:
            one.metadata.labels.update(labels or {})
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

    async def assert_sound(self, pods: Sequence[Pod], *, per_node: int | None = None) -> None:
        """No node has more than it can hold (nor than ``per_node`` pods), each bound pod has its claim where it is, and
        there is no other claim."""
        bound = {found.metadata.uid: found.spec for found in pods if found.spec.node_name}
        counts = Counter((spec.resource_partition, spec.node_name) for spec in bound.values())
        assert per_node is None or max(counts.values()) <= per_node
        assert all(spec.capacity_claimed for spec in bound.values())
        where = {uid: (spec.resource_partition, spec.node_name) for uid, spec in bound.items()}

        async def claims_are_those_of_bound_pods() -> bool:
            return await self.claims() == where

        await eventually(claims_are_those_of_bound_pods, what="no claim but those of bound pods")
        await self.assert_no_node_over_committed()

    async def claims(self) -> dict[str, tuple[str, str]]:
        """Where each pod (UID) has its claim; it has one at most."""
        found: dict[str, tuple[str, str]] = {}
        for name in self.resource_partitions:
            for claim in (await self.connections[name].clientset.capacity_claims.list()).items:
                assert claim.metadata.name not in found
                found[claim.metadata.name] = (name, claim.spec.node_name)
        return found

    async def assert_no_node_over_committed(self) -> None:
        for name in self.resource_partitions:
            for message in (await self.connections[name].clientset.capacity_ledgers.list()).items:
                ledger = Ledger.of(message)
                assert all(used <= ledger.allocatable[resource] for resource, used in ledger.used.items())

    async def _answers(self, name: str) -> bool:
        await self.connections[name].clientset.nodes.list()
        return True

    def _etcd(self, name: str) -> Process:
        port = self.ports[name]
        client, peer = f"http://{HOST}:{port + 2}", f"http://{HOST}:{port + 3}"
        command = [find_binary() or "etcd", "--name", name, "--data-dir", str(self.directory / f"data-{name}")]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
        command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"{name}={peer}"]
        command += ["--max-txn-ops", "4096", "--log-level", "error"]
        return self._process(f"etcd-{name}", command)

    def _server(self, name: str, *, second: bool = False) -> Process:
        port = self.ports[name] + (5 if second else 0)
        tenant = name in self.tenants
        home = name == RESOURCE_PARTITION
        text = f'name = "{name}"\nlisten = "{HOST}:{port}"\n{"placement_home = true" if home else ""}\n'
        text += f'[etcd]\nendpoints = ["{HOST}:{self.ports[name] + 2}"]\nmax_txn_ops = 4096\n'
        text += f'[telemetry]\nmetrics_listen = "{HOST}:{port + 1}"\n'
        for other in self.resource_partitions if tenant else self.tenants:
            if tenant and other in self.unannounced:
                continue
            kind = "resource_partitions" if tenant else "tenant_partitions"
            endpoints = self.endpoints_of(other) if tenant else [self.endpoint(other)]
            text += f'[[{kind}]]\nname = "{other}"\nendpoints = {json.dumps(endpoints)}\n'
            text += "placement_home = true\n" if tenant and other == RESOURCE_PARTITION else ""
        called = f"{name}-second" if second else name
        return self._python(called, "tenant_partition" if tenant else "resource_partition", text)

    def _scheduler(
        self, name: str, settings: Mapping[str, float], more: str = "", path: pathlib.Path | None = None
    ) -> Process:
        text = f'name = "scheduler-{name}"\nseed = 1\n[tenant_partition]\nname = "{name}"\n'
        text += f'endpoints = ["{self.endpoints.get(name, self.endpoint(name))}"]\n'
        text += f'[telemetry]\nmetrics_listen = "{HOST}:{self.ports[name] + 4}"\n[scheduling]\n'
        text += "".join(f"{key} = {value}\n" for key, value in settings.items())
        return self._python(f"scheduler-{name}", "scheduler", text + more, path)

    def _python(self, name: str, module: str, config: str, path: pathlib.Path | None = None) -> Process:
        file = self.directory / f"{name}.toml"
        file.write_text(config)
        command = [sys.executable, "-m", f"services.{module}", "--config", str(file)]
        return self._process(name, command if path is None else ["env", f"PYTHONPATH={path}", *command])

    def _process(self, name: str, command: list[str]) -> Process:
        made = self.processes[name] = Process(name, command, self.directory)
        return made


@contextlib.asynccontextmanager
async def schedulers(
    directory: pathlib.Path,
    base_port: int,
    tenant_partitions: int = 2,
    resource_partitions: int = 1,
    *,
    twins: Collection[str] = (),
    unannounced: Collection[str] = (),
    **proxied: str,
) -> AsyncIterator[Schedulers]:
    """Servers at work, no scheduler yet; all ended on leaving. ``proxied``: an endpoint by ``rp_1``, ``tp_1``."""
    tenants = {f"tp-{number + 1}": f"tenant-tp-{number + 1}" for number in range(tenant_partitions)}
    names = [*tenants, *(f"rp-{number + 1}" for number in range(resource_partitions))]
    ports = {name: base_port + 10 * index for index, name in enumerate(names)}
    endpoints = {key.replace("_", "-"): where for key, where in proxied.items()}
    made = Schedulers(directory, ports, tenants, endpoints, twins, unannounced)
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            there = made.endpoints_of(name) if name in twins else [made.endpoint(name)]
            made.connections[name] = await stack.enter_async_context(connection(name, *there))
        try:
            await made.start()
            yield made
        finally:
            for process in reversed(made.processes.values()):
                await process.kill()
