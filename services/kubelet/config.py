"""The kubelet host's configuration file (TOML), parsed once into frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.base.telemetry import TelemetryConfig
from services.kubelet.hollow import StartDelay
from services.rpc.credentials import TlsConfig

DEFAULT_CAPACITY = {"cpu": "32", "memory": "256Gi", "pods": "110"}


@dataclass(frozen=True)
class TimingConfig:
    """Seconds, with Kubernetes' defaults (KEP-0009). ``node_status_report_s``: an unchanged status is reported this
    often; ``lease_jitter``: each renewal comes up to this share later."""

    lease_duration_s: int = 40
    lease_renew_s: float = 10.0
    lease_jitter: float = 0.04
    node_status_compute_s: float = 10.0
    node_status_report_s: float = 300.0


@dataclass(frozen=True)
class Pool:
    """Nodes of one resource partition, named ``<name_prefix>0000`` and on.

    ``start_delay_ms``: what a container takes to start, a number or ``[least, most]``. ``zones``: given to the nodes in
    turn as ``topology.kubernetes.io/zone``. ``allocatable``: what pods may take, the capacity if empty.
    """

    resource_partition: str
    endpoints: tuple[str, ...]
    nodes: int
    name_prefix: str
    start_delay_ms: float | tuple[float, float] = 0.0
    capacity: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_CAPACITY))
    allocatable: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()

    @property
    def start_delay(self) -> StartDelay:
        if isinstance(self.start_delay_ms, tuple):
            least_ms, most_ms = self.start_delay_ms
        else:
            least_ms = most_ms = self.start_delay_ms
        return StartDelay(least_ms / 1000, most_ms / 1000)


@dataclass(frozen=True)
class TenantPartitionAddress:
    """A tenant partition that is known before any resource partition has told of it."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class KubeletConfig:
    """``name`` is this host's own, unique in the cluster: its nodes carry it as label ``ursa.io/kubelet-host``."""

    name: str
    pools: tuple[Pool, ...]
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    tenant_partitions: tuple[TenantPartitionAddress, ...] = ()
    timing: TimingConfig = field(default_factory=TimingConfig)
    tls: TlsConfig | None = None
    events: bool = True
    seed: int | None = None

    def problems(self) -> list[str]:
        """What is wrong with the values, each naming its field."""
        found = []
        if not self.pools:
            found.append("pools: at least one is needed")
        for number, pool in enumerate(self.pools):
            where = f"pools[{number}]"
            if pool.nodes < 1:
                found.append(f"{where}.nodes: must be at least 1, is {pool.nodes}")
            if not pool.endpoints:
                found.append(f"{where}.endpoints: at least one is needed")
            delay = pool.start_delay
            if not 0 <= delay.least_s <= delay.most_s:
                found.append(f"{where}.start_delay_ms: must be a number ≥ 0 or [least, most]")
        prefixes = [(pool.resource_partition, pool.name_prefix) for pool in self.pools]
        if len(set(prefixes)) < len(prefixes):
            found.append("pools: two of one resource partition have the same name_prefix")
        return found
