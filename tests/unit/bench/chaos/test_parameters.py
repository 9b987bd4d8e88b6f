"""Times and topology of a run: what the cluster is told, and what the bounds are made of."""

from __future__ import annotations

import pathlib
from dataclasses import asdict

import pytest

from services.base import config
from services.bench.chaos.parameters import ChaosParameters
from services.bench.chaos.topology import Topology
from services.cli.onebox.home import Home
from services.cli.onebox.plan import Options, plan
from services.controllers.config import ControllersConfig
from services.kubelet.config import KubeletConfig
from services.resource_partition.config import Config as ResourcePartitionConfig
from services.tenant_partition.config import Config as TenantPartitionConfig

SHAPES = {
    "controller-rp-1": ControllersConfig,
    "hollow": KubeletConfig,
    "rp-1": ResourcePartitionConfig,
    "tp-2": TenantPartitionConfig,
}


def planned(parameters: ChaosParameters, tmp_path: pathlib.Path) -> dict[str, object]:
    """The configurations that the processes of such a cluster really read."""
    topology = Topology(26200, parameters)
    words = [word.removeprefix("--set=") for word in topology.options() if word.startswith("--set=")]
    options = Options(base_port=26200, nodes=parameters.nodes // 2, overrides=tuple(words))
    made = plan(options, Home(tmp_path), etcd_binary="etcd")
    found = {}
    for component in made.components:
        if component.name in SHAPES:
            file = tmp_path / f"{component.name}.toml"
            file.write_text(made.files[f"config/{component.name}.toml"])
            argv = component.argv
            settings = tuple(argv[i + 1] for i, word in enumerate(argv) if word == "--set")
            found[component.name] = config.load(file, SHAPES[component.name], settings)
    return found


@pytest.mark.parametrize("parameters", [ChaosParameters(), ChaosParameters().quick()], ids=["full", "quick"])
def test_every_process_takes_the_settings(parameters: ChaosParameters, tmp_path: pathlib.Path) -> None:
    found = planned(parameters, tmp_path)

    controllers, kubelet = found["controller-rp-1"], found["hollow"]
    assert isinstance(controllers, ControllersConfig)
    assert isinstance(kubelet, KubeletConfig)
    assert controllers.nodes.grace_s == parameters.bounds.grace_s
    assert controllers.nodes.eviction_rate_per_s == parameters.bounds.evictions_per_s
    assert controllers.nodes.monitor_period_s == parameters.bounds.monitor_s
    assert kubelet.timing.lease_renew_s == parameters.bounds.renew_s
    assert kubelet.listen == Topology(26200, parameters).kubelet_listen


def test_the_full_run_has_kubernetes_defaults() -> None:
    bounds = ChaosParameters().bounds

    assert (bounds.grace_s, bounds.renew_s, bounds.monitor_s) == (50.0, 10.0, 5.0)
    assert (bounds.toleration_s, bounds.evictions_per_s) == (300.0, 0.1)


def test_partitions_of_other_kinds_are_reached_through_links_only(tmp_path: pathlib.Path) -> None:
    found = planned(ChaosParameters().quick(), tmp_path)
    topology = Topology(26200, ChaosParameters().quick())

    told = {one.name: one.endpoints for one in found["rp-1"].tenant_partitions}  # type: ignore[attr-defined]
    assert told == {name: (f"127.0.0.1:{topology.ports['rp-1', name]}",) for name in ("tp-1", "tp-2")}
    homes = {one.name: one.placement_home for one in found["tp-2"].resource_partitions}  # type: ignore[attr-defined]
    assert homes == {"rp-1": True, "rp-2": False}


def test_links_forward_to_the_servers_and_share_no_port_with_anybody(tmp_path: pathlib.Path) -> None:
    topology = Topology(26200, ChaosParameters())
    made = plan(Options(base_port=26200), Home(tmp_path), etcd_binary="etcd")

    used = [port for component in made.components for port in component.ports.values()]
    listening = list(topology.ports.values())
    kubelet = int(topology.kubelet_listen.rpartition(":")[2])
    assert len({*used, *listening, kubelet}) == len(used) + len(listening) + 1
    servers = {component.name: component.ports.get("grpc") for component in made.components}
    assert all(servers[asked] == port for (_, asked), port in topology.targets.items())


def test_the_share_of_nodes_is_of_each_partition_and_at_least_one() -> None:
    assert ChaosParameters(nodes=10_000).dying == 50
    assert ChaosParameters(nodes=20).dying == 1


def test_parameters_are_plain_values_for_the_report() -> None:
    assert all(isinstance(value, int | float | str | tuple) for value in asdict(ChaosParameters()).values())
