"""The configuration of a tenant partition's controller manager, one TOML file; and which flavour a file is of."""

from __future__ import annotations

import pathlib
import tomllib
from dataclasses import dataclass, field

from services.base import config as files
from services.base.config import ConfigError
from services.base.telemetry import TelemetryConfig
from services.client.election import ElectionConfig
from services.controllers.config import ControllersConfig, PartitionAddress, check_gather_s
from services.rpc.credentials import TlsConfig

RESOURCE, TENANT = "resource_partition", "tenant_partition"


@dataclass(frozen=True)
class PodGcConfig:
    """Collection of pods that nobody will end otherwise. Times in seconds.

    ``terminated_pod_threshold``: of pods that have succeeded or failed so many stay in the partition, 0: all
    (kube-controller-manager's ``--terminated-pod-gc-threshold``). ``period_s``: between two rounds. ``quarantine_s``: a
    node that is not seen has so long to come back before its partition is asked. ``batch_pods``: pods per request.
    Raises ``ValueError`` for what cannot be.
    """

    terminated_pod_threshold: int = 12_500
    period_s: float = 20.0
    quarantine_s: float = 40.0
    batch_pods: int = 256
    call_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.terminated_pod_threshold < 0:
            raise ValueError("terminated_pod_threshold must not be negative (0: terminated pods stay)")
        for name in ("period_s", "call_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.quarantine_s < 0:
            raise ValueError("quarantine_s must not be negative")
        if self.batch_pods < 1:
            raise ValueError("batch_pods must be at least 1")


@dataclass(frozen=True)
class ReplicaSetsConfig:
    """The ReplicaSet controller. ``workers``: replica sets that are worked on at a time. ``burst_replicas``: pods that
    one look at a replica set makes or deletes at most. ``batch_pods``: pods per request, of any number of replica sets;
    ``batches_in_flight``: requests of a sort at a time. ``status_gather_s``: news of pods that only change a status are
    gathered so long. Raises ``ValueError`` for what cannot be."""

    workers: int = 64
    burst_replicas: int = 500
    batch_pods: int = 512
    batches_in_flight: int = 4
    status_gather_s: float = 0.1
    call_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("workers", "burst_replicas", "batch_pods", "batches_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.call_timeout_s <= 0:
            raise ValueError("call_timeout_s must be positive")
        if self.status_gather_s < 0:
            raise ValueError("status_gather_s must not be negative")


@dataclass(frozen=True)
class TenantControllersConfig:
    """``name``: of this process, for logs and its identity in the election. ``watch_gather_s``: how long servers may
    let events gather for its watches, seconds; a ReplicaSet is seen to that much later. Raises ``ValueError`` for what
    cannot be."""

    name: str
    tenant_partition: PartitionAddress
    watch_gather_s: float = 0.05
    pod_gc: PodGcConfig = field(default_factory=PodGcConfig)
    replica_sets: ReplicaSetsConfig = field(default_factory=ReplicaSetsConfig)
    leader_election: ElectionConfig = field(default_factory=ElectionConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    tls: TlsConfig | None = None

    def __post_init__(self) -> None:
        check_gather_s("watch_gather_s", self.watch_gather_s)


def load(path: str, overrides: tuple[str, ...] = ()) -> ControllersConfig | TenantControllersConfig:
    """The configuration in ``path``, of the flavour that its partition's section says. Raises ``ConfigError``."""
    sections = _sections(path) | {override.partition("=")[0].partition(".")[0] for override in overrides}
    found = [name for name in (RESOURCE, TENANT) if name in sections]
    if len(found) != 1:
        both = f"both [{RESOURCE}] and [{TENANT}] are set"
        neither = f"neither [{RESOURCE}] nor [{TENANT}] is set"
        raise ConfigError(f"{path}: {both if found else neither}; a controller manager works for exactly one partition")
    if found == [RESOURCE]:
        return files.load(path, ControllersConfig, overrides)
    return files.load(path, TenantControllersConfig, overrides)


def _sections(path: str) -> set[str]:
    """The names at the top of the file."""
    try:
        return set(tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8")))
    except OSError as failure:
        raise ConfigError(f"{path}: cannot be read: {failure.strerror}") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path}: not TOML: {failure}") from failure
