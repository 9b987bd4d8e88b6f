"""From options to components: which processes a one-box has, on which ports, with which configuration. Pure values."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from services.cli.context import Context, Partition, PartitionKind
from services.cli.errors import UsageError
from services.cli.onebox import overrides, toml
from services.cli.onebox.home import Home

HOST = "127.0.0.1"
PLACEMENT_HOME = "rp-1"
# The default of 2 GiB does not hold a million pods; etcd itself warns above 8 GiB.
ETCD_QUOTA_BYTES = 8 * 1024**3
# The server's batches reach this size; etcd counts outer and inner operations and allows 128 unless told otherwise.
ETCD_MAX_TXN_OPS = 4096

# The order of ending: those that only use others go first, what holds the data last.
STOP_ORDER = {
    "scheduler": 0,
    "controllers": 0,
    "kubelet": 0,
    "tenant-partition": 1,
    "resource-partition": 1,
    "etcd": 2,
}
STOP_DEADLINE_S = {"etcd": 10.0}
# Each has a metrics port of its own among the ten of its partition.
SCHEDULERS_MAX = 5
# Each has a metrics port of its own between the base port and the first partition's.
HOLLOW_HOSTS_MAX = 5
# As a kubelet's configuration has it.
PROCESS_NODES_MAX = 20
# Everything here shares one machine and one clock: a killed leader is followed sooner than the defaults allow for.
LEADER_ELECTION = {"lease_s": 6.0, "renew_deadline_s": 4.0, "retry_s": 1.0}


@dataclass(frozen=True)
class Options:
    """What ``ursa up`` was asked for. ``nodes`` are hollow nodes per resource partition, ``schedulers`` are processes
    per tenant partition (of which one works), ``start_delay_ms`` is the time a hollow container takes to start,
    ``sample_ratio`` the part of creates that is traced. ``hollow_hosts`` are processes that share the hollow nodes
    evenly, ``pod_timeline`` has schedulers and kubelets write what they do with each pod to ``timelines/``.
    ``runtime``: "process" has real nodes, which run the commands of pods on this machine, in place of hollow ones.
    ``overrides``: ``COMPONENT.field=value``, fields of the configuration files of a component or of all of one kind
    (see ``overrides``)."""

    tenant_partitions: int = 2
    resource_partitions: int = 2
    nodes: int = 10
    schedulers: int = 1
    base_port: int = 7100
    sample_ratio: float = 0.01
    otlp_endpoint: str = ""
    start_delay_ms: int = 0
    log_level: str = "info"
    runtime: str = "hollow"
    hollow_hosts: int = 1
    pod_timeline: bool = False
    overrides: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ``UsageError`` naming the option."""
        for name in ("tenant_partitions", "resource_partitions"):
            if not 1 <= getattr(self, name) <= 64:
                raise UsageError(f"--{name.replace('_', '-')} must be between 1 and 64")
        if not 1 <= self.schedulers <= SCHEDULERS_MAX:
            raise UsageError(f"--schedulers must be between 1 and {SCHEDULERS_MAX}")
        if not 0 <= self.nodes <= 100_000:
            raise UsageError("--nodes must be between 0 and 100000")
        if self.runtime not in ("hollow", "process"):
            raise UsageError("--runtime must be hollow or process")
        if self.runtime == "process":
            self._check_process()
        if not 1 <= self.hollow_hosts <= HOLLOW_HOSTS_MAX:
            raise UsageError(f"--hollow-hosts must be between 1 and {HOLLOW_HOSTS_MAX}")
        if self.hollow_hosts > max(1, self.nodes):
            raise UsageError(f"--hollow-hosts {self.hollow_hosts}: each needs at least one of --nodes {self.nodes}")
        if not 0 <= self.sample_ratio <= 1:
            raise UsageError("--sample-ratio must be between 0 and 1")
        if self.start_delay_ms < 0:
            raise UsageError("--start-delay-ms must not be negative")
        highest = Ports(self).resource(self.resource_partitions) + 9
        if self.base_port < 1024 or highest > 65535:
            raise UsageError(f"--base-port {self.base_port}: ports {self.base_port} to {highest} are not all usable")

    def _check_process(self) -> None:
        if not 1 <= self.nodes <= PROCESS_NODES_MAX:
            raise UsageError(f"--nodes must be between 1 and {PROCESS_NODES_MAX} with --runtime process")
        for name, plain in (("hollow_hosts", 1), ("start_delay_ms", 0)):
            if getattr(self, name) != plain:
                raise UsageError(f"--{name.replace('_', '-')} is about hollow nodes: it has no meaning for processes")


@dataclass(frozen=True)
class Ports:
    """Every port of a one-box from its base port: ten for each partition, the tenant partitions first."""

    options: Options

    def tenant(self, number: int) -> int:
        return self.options.base_port + 10 * number

    def resource(self, number: int) -> int:
        return self.options.base_port + max(50, 10 * self.options.tenant_partitions) + 10 * number

    @property
    def hollow_metrics(self) -> int:
        return self.options.base_port + 5


@dataclass(frozen=True)
class Component:
    """One process: how it is started, how its readiness is asked, and when it is ended (lower ``stop_order`` first)."""

    name: str
    kind: str
    partition: str
    argv: tuple[str, ...]
    ready_url: str
    ports: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    stop_order: int = 0
    stop_deadline_s: float = 5.0


@dataclass(frozen=True)
class ClusterPlan:
    """Everything ``ursa up`` writes and starts: ``files`` are configurations by path below the home."""

    context: Context
    components: tuple[Component, ...]
    files: dict[str, str]


def plan(options: Options, home: Home, *, etcd_binary: str, python: str = sys.executable) -> ClusterPlan:
    """The one-box for these options. Raises ``UsageError`` for options that cannot be."""
    options.check()
    return _Planner(options, home, etcd_binary, python).plan()


class _Planner:
    def __init__(self, options: Options, home: Home, etcd_binary: str, python: str) -> None:
        self._options = options
        self._home = home
        self._etcd_binary = etcd_binary
        self._python = python
        ports = Ports(options)
        self._tenant = {f"tp-{i}": ports.tenant(i) for i in range(1, options.tenant_partitions + 1)}
        self._resource = {f"rp-{i}": ports.resource(i) for i in range(1, options.resource_partitions + 1)}
        self._hollow_metrics = ports.hollow_metrics
        self._files: dict[str, str] = {}

    def plan(self) -> ClusterPlan:
        components: list[Component] = []
        components += [self._etcd(name, port) for name, port in (self._tenant | self._resource).items()]
        components += [self._tenant_partition(name, port) for name, port in self._tenant.items()]
        components += [self._resource_partition(name, port) for name, port in self._resource.items()]
        components += [
            self._scheduler(name, port, replica)
            for name, port in self._tenant.items()
            for replica in range(1, self._options.schedulers + 1)
        ]
        components += [self._tenant_controllers(name, port) for name, port in self._tenant.items()]
        components += [self._controllers(name, port) for name, port in self._resource.items()]
        if self._options.runtime == "process":
            components.append(self._kubelet())
        else:
            components += [self._hollow(host) for host in range(1, self._options.hollow_hosts + 1)]
        return ClusterPlan(self._context(), tuple(overrides.applied(components, self._options.overrides)), self._files)

    def _context(self) -> Context:
        tenant = [self._partition("tenant", name, port) for name, port in self._tenant.items()]
        resource = [self._partition("resource", name, port) for name, port in self._resource.items()]
        return Context((*tenant, *resource), placement_home=PLACEMENT_HOME)

    @staticmethod
    def _partition(kind: PartitionKind, name: str, port: int) -> Partition:
        return Partition(name, kind, f"{HOST}:{port}", etcd=f"{HOST}:{port + 2}", metrics=f"{HOST}:{port + 1}")

    def _etcd(self, partition: str, port: int) -> Component:
        client, peer = f"http://{HOST}:{port + 2}", f"http://{HOST}:{port + 3}"
        flags = {
            "name": partition,
            "data-dir": str(self._home.etcd / partition),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"{partition}={peer}",
            "max-txn-ops": str(ETCD_MAX_TXN_OPS),
            "quota-backend-bytes": str(ETCD_QUOTA_BYTES),
            # Compaction is the partition servers' own work: they know what their caches and pages still need.
            "auto-compaction-retention": "0",
            "backend-batch-interval": "1s",
            "logger": "zap",
            "log-level": "warn",
        }
        argv = (self._etcd_binary, *(f"--{name}={value}" for name, value in flags.items()))
        return Component(
            name=f"etcd-{partition}",
            kind="etcd",
            partition=partition,
            argv=argv,
            ready_url=f"{client}/health",
            ports={"client": port + 2, "peer": port + 3},
            stop_order=STOP_ORDER["etcd"],
            stop_deadline_s=STOP_DEADLINE_S["etcd"],
        )

    def _tenant_partition(self, name: str, port: int) -> Component:
        links = [
            self._link(other, at) | {"placement_home": other == PLACEMENT_HOME} for other, at in self._resource.items()
        ]
        config = self._server_config(name, port) | {"resource_partitions": links}
        return self._python_component(name, "tenant-partition", name, config, port + 1, {"grpc": port})

    def _resource_partition(self, name: str, port: int) -> Component:
        links = [self._link(other, at) for other, at in self._tenant.items()]
        config = self._server_config(name, port) | {
            "placement_home": name == PLACEMENT_HOME,
            "tenant_partitions": links,
        }
        return self._python_component(name, "resource-partition", name, config, port + 1, {"grpc": port})

    def _scheduler(self, partition: str, port: int, replica: int) -> Component:
        name = f"scheduler-{partition}" + (f"-{replica}" if replica > 1 else "")
        number = int(partition.rpartition("-")[2])
        config: dict[str, Any] = {"name": name, "seed": number, "tenant_partition": self._link(partition, port)}
        if self._options.schedulers > 1:
            config["leader_election"] = LEADER_ELECTION
        return self._python_component(name, "scheduler", partition, config, port + 4 + replica, {})

    def _tenant_controllers(self, partition: str, port: int) -> Component:
        name = f"controller-{partition}"
        config = {
            "name": name,
            "tenant_partition": self._link(partition, port),
            "leader_election": LEADER_ELECTION,
        }
        return self._python_component(name, "controllers", partition, config, port + 4, {})

    def _controllers(self, partition: str, port: int) -> Component:
        name = f"controller-{partition}"
        config = {
            "name": name,
            "resource_partition": self._link(partition, port),
            "leader_election": LEADER_ELECTION,
        }
        return self._python_component(name, "controllers", partition, config, port + 5, {})

    def _hollow(self, host: int) -> Component:
        hosts = self._options.hollow_hosts
        # The first ones have one node more each where they cannot be shared evenly.
        nodes = self._options.nodes // hosts + (host <= self._options.nodes % hosts)
        suffix = f"-{host}" if host > 1 else ""
        pools = [
            {
                "resource_partition": name,
                "endpoints": [f"{HOST}:{port}"],
                "nodes": nodes,
                "name_prefix": f"hollow-{name}-" + (f"h{host}-" if host > 1 else ""),
                "start_delay_ms": self._options.start_delay_ms,
                "capacity": {"cpu": "32", "memory": "256Gi", "pods": "110"},
                "labels": {"node.ursa.io/hollow": "true"},
                "zones": ["zone-a", "zone-b", "zone-c"],
            }
            for name, port in self._resource.items()
        ]
        # Where its nodes can be disturbed: the ports before those of the metrics.
        grpc = self._options.base_port + host - 1
        config = {"name": f"hollow-{host}", "listen": f"{HOST}:{grpc}", "pools": pools}
        metrics = self._hollow_metrics + host - 1
        return self._python_component(f"hollow{suffix}", "kubelet", "", config, metrics, {"grpc": grpc})

    def _kubelet(self) -> Component:
        pools = [
            {
                "resource_partition": name,
                "endpoints": [f"{HOST}:{port}"],
                "nodes": self._options.nodes,
                "name_prefix": f"node-{name}-",
                "runtime": "process",
                "root": str(self._home.processes),
                "capacity": {"cpu": "8", "memory": "16Gi", "pods": "50"},
            }
            for name, port in self._resource.items()
        ]
        grpc = self._options.base_port
        config = {"name": "kubelet-1", "listen": f"{HOST}:{grpc}", "pools": pools}
        return self._python_component("kubelet", "kubelet", "", config, self._hollow_metrics, {"grpc": grpc})

    def _server_config(self, name: str, port: int) -> dict[str, Any]:
        listen = f"{HOST}:{port}"
        return {
            "name": name,
            "listen": listen,
            "etcd": {"endpoints": [f"{HOST}:{port + 2}"], "max_txn_ops": ETCD_MAX_TXN_OPS},
        }

    @staticmethod
    def _link(name: str, port: int) -> dict[str, Any]:
        return {"name": name, "endpoints": [f"{HOST}:{port}"]}

    def _python_component(
        self, name: str, kind: str, partition: str, config: dict[str, Any], metrics: int, ports: dict[str, int]
    ) -> Component:
        telemetry = {
            "metrics_listen": f"{HOST}:{metrics}",
            "otlp_endpoint": self._options.otlp_endpoint,
            "sample_ratio": self._options.sample_ratio,
            "log_level": self._options.log_level,
        }
        if self._options.pod_timeline and kind in ("scheduler", "kubelet"):
            telemetry["pod_timeline"] = str(self._home.timelines / f"{name}.tl")
        file = f"config/{name}.toml"
        self._files[file] = toml.dumps(config | {"telemetry": telemetry})
        module = f"services.{kind.replace('-', '_')}"
        return Component(
            name=name,
            kind=kind,
            partition=partition,
            argv=(self._python, "-m", module, "--config", str(self._home.root / file)),
            ready_url=f"http://{HOST}:{metrics}/readyz",
            ports={**ports, "metrics": metrics},
            env={"PYTHONUNBUFFERED": "1"},
            stop_order=STOP_ORDER[kind],
        )
