"""The scheduler's configuration file (TOML), parsed once into frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from services.base.telemetry import TelemetryConfig
from services.client.election import ElectionConfig
from services.rpc.credentials import TlsConfig
from services.scheduler.profile_config import ProfileConfig


@dataclass(frozen=True)
class PartitionAddress:
    """A partition and its API servers (host:port)."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class SchedulingConfig:
    """Times in seconds, sizes in pods.

    ``start_wait_s``: how long the start waits for resource partitions that cannot be reached. ``plan_gather_ms``
    (milliseconds): a plan begins so long after the one before, or at once when that time is over or many pods wait; 0:
    as soon as the one before is sent. ``pod_watch_gather_ms``, ``node_watch_gather_ms``: events of pods, and those of
    nodes and ledgers, gather for so long at the partitions' servers: fewer messages, and what other schedulers took is
    known so much later.
    ``bind_batch_pods``: pods in a batch of binds to a resource partition; more, up to four times as many, while batches
    are answered in ``bind_within_s`` (0: never more). ``bind_batches_in_flight``: batches under way to each partition.
    ``stale_after_s``: how long the nodes of a lost partition stay candidates.
    ``unschedulable_retry_s``: a pod that no change has helped is tried again after this. ``backoff_*``: the pause
    between two attempts, doubling. ``events_per_second``: events about pods beyond this rate wait, ``scheduled_events``
    whether each bound pod has one.
    """

    start_wait_s: float = 5.0
    plan_gather_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 100.0
    pod_watch_gather_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 30.0
    node_watch_gather_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 60.0
    stale_after_s: float = 10.0
    plan_pods_max: int = 10_000
    bind_batch_pods: int = 256
    bind_batches_in_flight: int = 2
    bind_within_s: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.5
    bind_timeout_s: float = 10.0
    backoff_initial_s: float = 1.0
    backoff_max_s: float = 10.0
    unschedulable_retry_s: float = 60.0
    scheduled_events: bool = True
    events_per_second: float = 200.0


@dataclass(frozen=True)
class SchedulerConfig:
    """``seed`` and ``name`` decide ties between equally good nodes. ``scheduler_name``: whose pods these are.

    ``profiles``: several kinds of pods, told apart by their ``spec.schedulerName``, each placed by plug-ins of its own.
    None: the default profile for pods of ``scheduler_name``. With profiles, ``scheduler_name`` must be one of theirs,
    and is the name of the lease; events and metrics have the name of the pod's own profile.

    ``leader_election``: of all schedulers with this ``scheduler_name`` in the partition one works at a time, the others
    stand by with everything in memory. Without that table (``[leader_election]``) there is no election; two at once are
    safe then too, but get in each other's way.
    """

    name: str
    tenant_partition: PartitionAddress
    seed: int = 0
    scheduler_name: str = "default-scheduler"
    profiles: tuple[ProfileConfig, ...] = ()
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    leader_election: ElectionConfig = field(default_factory=lambda: ElectionConfig(enabled=False))
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    tls: TlsConfig | None = None
