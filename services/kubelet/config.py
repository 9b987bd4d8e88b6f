"""The kubelet host's configuration file (TOML), parsed once into frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from services.api import names, quantities
from services.base.telemetry import TelemetryConfig
from services.kubelet.distribution import Distribution, Outage
from services.rpc.credentials import TlsConfig

# All nodes of a process pool share one machine: a few show what there is to see.
PROCESS_NODES_MAX = 20
# Every start of a pod waits for it.
GATHER_MS_MAX = 1000.0
DEFAULT_CAPACITY = {"cpu": "32", "memory": "256Gi", "pods": "110"}


@dataclass(frozen=True)
class TimingConfig:
    """Seconds, with Kubernetes' defaults (KEP-0009). ``node_status_report_s``: an unchanged status is reported this
    often; ``lease_jitter``: each renewal comes up to this share later.

    Milliseconds, for each partition: ``claim_gather_ms``: claims of bound pods, ``status_gather_ms``: pod statuses, and
    likewise confirmations of deletion, are sent at once when nothing was lately, else once in this time (or earlier,
    when many wait); 0: as soon as the batch before is answered. ``pod_watch_gather_ms``, ``node_watch_gather_ms``:
    events of its pods and nodes gather at the partitions' servers for so long (``CreateWatch.gather_ms``).
    """

    lease_duration_s: int = 40
    lease_renew_s: float = 10.0
    lease_jitter: float = 0.04
    node_status_compute_s: float = 10.0
    node_status_report_s: float = 300.0
    claim_gather_ms: float = 80.0
    status_gather_ms: float = 100.0
    pod_watch_gather_ms: float = 40.0
    node_watch_gather_ms: float = 250.0

    def problems(self) -> list[str]:
        """What is wrong with the values, each beginning with its field."""
        gathers = {
            "claim_gather_ms": self.claim_gather_ms,
            "status_gather_ms": self.status_gather_ms,
            "pod_watch_gather_ms": self.pod_watch_gather_ms,
            "node_watch_gather_ms": self.node_watch_gather_ms,
        }
        return self._period_problems() + [
            f"{name}: must be between 0 and {GATHER_MS_MAX:g}, is {value:g}"
            for name, value in gathers.items()
            if not 0 <= value <= GATHER_MS_MAX
        ]

    def _period_problems(self) -> list[str]:
        periods = {
            "lease_renew_s": self.lease_renew_s,
            "node_status_compute_s": self.node_status_compute_s,
            "node_status_report_s": self.node_status_report_s,
        }
        found = [
            f"{name}: must be positive, is {value:g}" for name, value in periods.items() if not 0 < value < math.inf
        ]
        if not 0 <= self.lease_jitter <= 1:
            found.append(f"lease_jitter: must be between 0 and 1, is {self.lease_jitter:g}")
        if self.lease_duration_s <= self.lease_renew_s:
            found.append(f"lease_duration_s: must be more than lease_renew_s, is {self.lease_duration_s}")
        return found


@dataclass(frozen=True)
class Pool:
    """Nodes of one resource partition, named ``<name_prefix><number>`` with four digits or more from ``first_number``.

    ``zones``: given to the nodes in turn as ``topology.kubernetes.io/zone``. ``capacity``: if empty, that of hollow
    nodes is 32 cpu, 256Gi of memory and 110 pods, and that of others the machine's own. ``allocatable``: what pods may
    take, the capacity if empty.

    How hollow nodes behave (durations and distributions as in ``distribution.py``): ``start_delay``, ``stop_delay``:
    what containers take to start and to stop; ``start_delay_ms``: the former as a number or ``[least, most]``;
    ``pod_failure_rate``: the part of the starts that fail; ``crash_rate_per_hour``: kubelet crashes per node and hour;
    ``death``, ``cut``: the part of the nodes that dies or is cut off, when and for how long; ``proxy_share``: the part
    of the nodes with a hollow kube-proxy.

    ``runtime``: ``process`` runs the commands of pods on this machine, as the kubelet's own user; ``root``: the
    directory in which it keeps their logs and what it must know after a restart.
    """

    resource_partition: str
    endpoints: tuple[str, ...]
    nodes: int
    name_prefix: str
    first_number: int = 0
    start_delay_ms: float | tuple[float, float] = 0.0
    start_delay: str = ""
    stop_delay: str = "0"
    pod_failure_rate: float = 0.0
    crash_rate_per_hour: float = 0.0
    death: str = ""
    cut: str = ""
    proxy_share: float = 0.0
    capacity: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    runtime: Literal["hollow", "process"] = "hollow"
    root: str = ""

    @property
    def starting(self) -> Distribution:
        """Seconds that containers take to start. Raises ``ValueError`` for a text that is none."""
        if self.start_delay:
            return Distribution.parse(self.start_delay)
        given = self.start_delay_ms
        least_ms, most_ms = given if isinstance(given, tuple) else (given, given)
        if not 0 <= least_ms <= most_ms < math.inf:
            raise ValueError("must be a number ≥ 0 or [least, most]")
        return Distribution.between(least_ms / 1000, most_ms / 1000)

    @property
    def stopping(self) -> Distribution:
        """Seconds that containers take to stop. Raises ``ValueError``."""
        return Distribution.parse(self.stop_delay)

    @property
    def names(self) -> list[str]:
        """The nodes' names, in order."""
        return [f"{self.name_prefix}{self.first_number + number:04d}" for number in range(self.nodes)]

    def problems(self) -> list[str]:
        """What is wrong with the values, each beginning with its field."""
        found = []
        if self.nodes < 1:
            found.append(f"nodes: must be at least 1, is {self.nodes}")
        if self.first_number < 0:
            found.append(f"first_number: must not be negative, is {self.first_number}")
        if not self.endpoints:
            found.append("endpoints: at least one is needed")
        if self.start_delay and self.start_delay_ms:
            found.append("start_delay: may not be given beside start_delay_ms")
        shares = {"pod_failure_rate": self.pod_failure_rate, "proxy_share": self.proxy_share}
        found += [
            f"{name}: must be between 0 and 1, is {share}" for name, share in shares.items() if not 0 <= share <= 1
        ]
        if not 0 <= self.crash_rate_per_hour < math.inf:
            found.append(f"crash_rate_per_hour: must not be negative, is {self.crash_rate_per_hour}")
        found += [f"name_prefix: {fault}" for name in self.names[-1:] for fault in names.dns_subdomain(name)]
        for section, amounts in (("capacity", self.capacity), ("allocatable", self.allocatable)):
            for resource, amount in amounts.items():
                found += _unreadable(f"{section}.{resource}", partial(quantities.parse, amount))
        found += self._process_problems()
        found += _unreadable("start_delay" if self.start_delay else "start_delay_ms", lambda: self.starting)
        found += _unreadable("stop_delay", lambda: self.stopping)
        found += _unreadable("death", lambda: self.death and Outage.parse(self.death))
        found += _unreadable("cut", lambda: self.cut and Outage.parse(self.cut))
        return found

    def _process_problems(self) -> list[str]:
        if self.runtime == "hollow":
            return ['root: has a meaning for runtime = "process" only'] if self.root else []
        found = [] if self.root else ['root: a directory is needed for runtime = "process"']
        if self.nodes > PROCESS_NODES_MAX:
            found.append(f'nodes: at most {PROCESS_NODES_MAX} with runtime = "process", is {self.nodes}')
        hollow = ("start_delay", "start_delay_ms", "pod_failure_rate", "crash_rate_per_hour", "death", "cut")
        return found + [f"{name}: has a meaning for hollow nodes only" for name in hollow if getattr(self, name)]


def _unreadable(field_name: str, read: Callable[[], Any]) -> list[str]:
    try:
        read()
    except ValueError as failure:
        return [f"{field_name}: {failure}"]
    return []


@dataclass(frozen=True)
class TenantPartitionAddress:
    """A tenant partition that is known before any resource partition has told of it."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class KubeletConfig:
    """``name`` is this host's own, unique in the cluster: its nodes carry it as label ``ursa.io/kubelet-host``.

    ``listen``: host:port of the process' own gRPC services (``Kubelet``, ``HollowNodes``), empty for none;
    ``address``: the host under which they are reached and which is its nodes' address, that of ``listen`` if empty;
    ``delete_on_exit``: its nodes are deleted when it is asked to stop.
    """

    name: str
    pools: tuple[Pool, ...]
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    tenant_partitions: tuple[TenantPartitionAddress, ...] = ()
    timing: TimingConfig = field(default_factory=TimingConfig)
    tls: TlsConfig | None = None
    events: bool = True
    seed: int | None = None
    listen: str = ""
    address: str = ""
    delete_on_exit: bool = False

    @property
    def serving_address(self) -> str:
        """The address of the process' services and nodes; empty if it serves nothing."""
        return self.address or self.listen.rpartition(":")[0].strip("[]")

    def problems(self) -> list[str]:
        """What is wrong with the values, each naming its field."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if self.listen and not (host and port.isdecimal() and int(port) < 65536):
            found.append(f"listen: must be host:port, is {self.listen!r}")
        if self.listen and self.serving_address in ("0.0.0.0", "::"):
            found.append("address: is needed when listen names no single address")
        # It is the value of a label.
        found += [f"name: {fault}" for fault in (names.label_value(self.name) if self.name else ("is needed",))]
        found += [f"timing.{problem}" for problem in self.timing.problems()]
        if not self.pools:
            found.append("pools: at least one is needed")
        for number, pool in enumerate(self.pools):
            found += [f"pools[{number}].{problem}" for problem in pool.problems()]
        nodes = [(pool.resource_partition, name) for pool in self.pools for name in pool.names]
        if len(set(nodes)) < len(nodes):
            found.append("pools: two of one resource partition give a node the same name (name_prefix, first_number)")
        return found
