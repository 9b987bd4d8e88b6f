"""The configuration of a resource partition's server, one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.apiserver.overload import OverloadConfig
from services.base.telemetry import TelemetryConfig
from services.rpc.credentials import TlsConfig
from services.storage.etcd import EtcdConfig
from services.storage.stores import WatchCacheConfig


@dataclass(frozen=True)
class TenantPartitionLink:
    """A tenant partition and where its servers are."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """``listen``: host:port of gRPC. ``placement_home``: this partition keeps the TenantPlacements."""

    name: str
    listen: str
    etcd: EtcdConfig
    placement_home: bool = False
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    watch_cache: WatchCacheConfig = field(default_factory=WatchCacheConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    tenant_partitions: tuple[TenantPartitionLink, ...] = ()
    tls: TlsConfig | None = None
