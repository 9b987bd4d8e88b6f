"""The configuration of a tenant partition's server, one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.apiserver.overload import OverloadConfig
from services.base.telemetry import TelemetryConfig
from services.rpc.credentials import TlsConfig
from services.storage.etcd import EtcdConfig
from services.storage.watchcache import WindowBounds
from services.storage.watchcache.bookmarks import PERIOD_S


@dataclass(frozen=True)
class WatchCacheConfig:
    """``off``: resources that are read straight from etcd, beside those that never are cached (events); ``"*"``: all.

    ``windows``: how much history is kept, by resource. ``bookmark_period_s``: how often a quiet watch that opted in is
    told its position.
    """

    off: tuple[str, ...] = ()
    windows: dict[str, WindowBounds] = field(default_factory=dict)
    bookmark_period_s: float = PERIOD_S


@dataclass(frozen=True)
class ResourcePartitionLink:
    """A resource partition and where its servers are. ``placement_home``: it keeps the TenantPlacements."""

    name: str
    endpoints: tuple[str, ...]
    placement_home: bool = False


@dataclass(frozen=True)
class Config:
    """``listen``: host:port of gRPC.."""

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
