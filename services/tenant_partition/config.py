"""The configuration of a tenant partition's server, one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.apiserver.overload import OverloadConfig
from services.base.telemetry import TelemetryConfig
from services.rpc.credentials import TlsConfig
from services.storage.etcd import EtcdConfig
from services.storage.stores import WatchCacheConfig


@dataclass(frozen=True)
class ResourcePartitionLink:
    """A resource partition and where its servers are. ``placement_home``: it keeps the TenantPlacements."""

    name: str
    endpoints: tuple[str, ...]
    placement_home: bool = False


@dataclass(frozen=True)
class Config:
    """``listen``: host:port of gRPC."""

    name: str
    listen: str
    etcd: EtcdConfig
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    watch_cache: WatchCacheConfig = field(default_factory=WatchCacheConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    resource_partitions: tuple[ResourcePartitionLink, ...] = ()
    tls: TlsConfig | None = None

    @property
    def placement_home(self) -> ResourcePartitionLink | None:
        """The partition that keeps the placements; None if no link says so."""
        return next((link for link in self.resource_partitions if link.placement_home), None)
