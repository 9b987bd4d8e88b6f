"""What the processes of a workload are told."""

from __future__ import annotations

import pathlib

from services.base.config import load
from services.bench.scheduler import processes
from services.controllers.config import ControllersConfig


def test_nodes_without_kubelets_are_not_found_lost(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "controller-rp-1.toml"
    file.write_text(processes._controllers("controller-rp-1", 17000))
    config = load(file, ControllersConfig)
    assert config.resource_partition.name == "rp-1"
    assert not config.nodes.enabled
    assert not config.leader_election.enabled
