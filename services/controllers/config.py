"""The configuration of a resource partition's controller manager, one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.base.telemetry import TelemetryConfig
from services.client.election import ElectionConfig
from services.client.mux import GATHER_S_MAX
from services.controllers.nodes.config import NodesConfig
from services.rpc.credentials import TlsConfig


@dataclass(frozen=True)
class PartitionAddress:
    """A partition and its API servers (host:port)."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class ClaimsConfig:
    """Reconciliation of capacity claims. Times in seconds, sizes in claims.

    ``claim_review_after_s``: a claim whose pod is not bound at its node after so long is asked about, and its bind
    revoked if it is still unbound. ``retry_after_s``: a claim whose tenant partition answered for the others of its
    batch, but not for it, is asked about again. ``backoff_max_s``: the longest pause between two tries at a partition
    that does not answer. Raises ``ValueError`` for what cannot be.
    """

    claim_review_after_s: float = 60.0
    retry_after_s: float = 5.0
    batch_claims: int = 512
    batches_in_flight: int = 2
    call_timeout_s: float = 10.0
    backoff_max_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("claim_review_after_s", "retry_after_s", "call_timeout_s", "backoff_max_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        for name in ("batch_claims", "batches_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@dataclass(frozen=True)
class ControllersConfig:
    """``name``: of this process, for logs and its identity in the election. ``watch_gather_s``: how long servers may
    let events gather for its watches, seconds; a pulse takes that much longer. Raises ``ValueError`` for what cannot
    be."""

    name: str
    resource_partition: PartitionAddress
    watch_gather_s: float = 0.25
    claims: ClaimsConfig = field(default_factory=ClaimsConfig)
    nodes: NodesConfig = field(default_factory=NodesConfig)
    leader_election: ElectionConfig = field(default_factory=ElectionConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    tls: TlsConfig | None = None

    def __post_init__(self) -> None:
        check_gather_s("watch_gather_s", self.watch_gather_s)
        nodes = self.nodes
        if nodes.enabled and nodes.pulse_period_s * 2 + self.watch_gather_s > nodes.blind_after_s:
            raise ValueError(
                "nodes.blind_after_s must be at least twice nodes.pulse_period_s and watch_gather_s beside it"
            )


def check_gather_s(name: str, gather_s: float) -> None:
    """Raises ``ValueError`` for what no server takes."""
    if not 0 <= gather_s <= GATHER_S_MAX:
        raise ValueError(f"{name} must be between 0 and {GATHER_S_MAX:g}")
