"""How the one-box of a run is put up: its options, its links and its ports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.bench.chaos.parameters import ChaosParameters
from services.bench.partition import HOST

PLACEMENT_HOME = "rp-1"
# The partitions of a one-box of at most five tenant partitions use the ports below this.
_OWN_FROM = 90


@dataclass(frozen=True)
class Topology:
    """``targets``: the port that each link (who asks, who is asked) forwards to; ``ports``: where it listens."""

    base_port: int
    parameters: ChaosParameters

    @property
    def tenant(self) -> dict[str, int]:
        return {f"tp-{i}": self.base_port + 10 * i for i in range(1, self.parameters.tenant_partitions + 1)}

    @property
    def resource(self) -> dict[str, int]:
        return {f"rp-{i}": self.base_port + 50 + 10 * i for i in range(1, self.parameters.resource_partitions + 1)}

    @property
    def targets(self) -> Mapping[tuple[str, str], int]:
        """What a partition tells its own machines, controllers and schedulers of the partitions of the other kind."""
        pairs = [((asks, asked), port) for asks in self.resource for asked, port in self.tenant.items()]
        pairs += [((asks, asked), port) for asks in self.tenant for asked, port in self.resource.items()]
        return dict(pairs)

    @property
    def ports(self) -> Mapping[tuple[str, str], int]:
        return {pair: self.base_port + _OWN_FROM + 1 + number for number, pair in enumerate(self.targets)}

    @property
    def kubelet_listen(self) -> str:
        return f"{HOST}:{self.base_port + _OWN_FROM}"

    def options(self) -> list[str]:
        """For ``ursa up``."""
        parameters = self.parameters
        settings = [*parameters.settings(), f'hollow.listen="{self.kubelet_listen}"']
        settings += [f"{asks}.tenant_partitions={self._told(asks, self.tenant)}" for asks in self.resource]
        settings += [f"{asks}.resource_partitions={self._told(asks, self.resource)}" for asks in self.tenant]
        return [
            f"--tenant-partitions={parameters.tenant_partitions}",
            f"--resource-partitions={parameters.resource_partitions}",
            f"--nodes={parameters.nodes // parameters.resource_partitions}",
            *(f"--set={setting}" for setting in settings),
        ]

    def _told(self, asks: str, others: Mapping[str, int]) -> str:
        """A TOML array: the others, each behind its link."""
        tables = []
        for other in others:
            home = f", placement_home = {str(other == PLACEMENT_HOME).lower()}" if other.startswith("rp-") else ""
            tables.append(f'{{name = "{other}", endpoints = ["{HOST}:{self.ports[asks, other]}"]{home}}}')
        return f"[{', '.join(tables)}]"
