"""The files of deploy/compose agree with one another and with the processes that read them. No engine is needed."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
import yaml

from services.base import config
from services.cli import context
from services.controllers import tenant_config
from services.kubelet.config import KubeletConfig
from services.resource_partition.config import Config as ResourcePartitionConfig
from services.scheduler.config import SchedulerConfig
from services.tenant_partition.config import Config as TenantPartitionConfig

COMPOSE = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "compose"
SHAPES = {
    "services.tenant_partition": TenantPartitionConfig,
    "services.resource_partition": ResourcePartitionConfig,
    "services.scheduler": SchedulerConfig,
    "services.kubelet": KubeletConfig,
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return document["services"]


def _configurations(services: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What each Ursa process of the compose file would load, by service."""
    found = {}
    for name, service in services.items():
        if not name.startswith("etcd-"):
            _, _, module, option, path = service["command"]
            assert option == "--config"
            file = COMPOSE / "config" / pathlib.Path(path).name
            if module == "services.controllers":
                found[name] = tenant_config.load(str(file))
            else:
                found[name] = config.load(file, SHAPES[module])
    return found


def test_every_process_understands_its_configuration(services: dict[str, dict[str, Any]]) -> None:
    configurations = _configurations(services)
    assert len(configurations) == 11
    assert configurations["hollow"].problems() == []
    for name, loaded in configurations.items():
        if name != "hollow":
            assert loaded.name == name


def test_every_address_in_a_configuration_is_a_service_on_a_shared_network(services: dict[str, dict[str, Any]]) -> None:
    for path in sorted((COMPOSE / "config").glob("*.toml")):
        own = set(services[path.stem]["networks"])
        for host, port in re.findall(r'"([a-z0-9-]+):(\d+)"', path.read_text()):
            assert own & set(services[host]["networks"]), f"{path.name}: {host} is on no network of its own"
            assert port == ("2379" if host.startswith("etcd-") else "7100"), f"{path.name}: {host}:{port}"


def test_the_context_file_names_the_published_ports(services: dict[str, dict[str, Any]]) -> None:
    loaded = context.load(COMPOSE / "cluster.json")
    assert loaded.home.kind == "resource"
    published = {
        name: re.sub(r"\$\{\w+:-(\d+)\}", r"\1", port).rpartition(":")[0]
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    assert {partition.name: partition.endpoint for partition in loaded.partitions} == published


def test_every_process_waits_for_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    partitions = {"tp-1", "tp-2", "rp-1", "rp-2"}
    for name, service in services.items():
        if name.startswith("etcd-"):
            continue
        wanted = {f"etcd-{name}"} if name in partitions else partitions
        assert service["depends_on"] == {other: {"condition": "service_healthy"} for other in wanted}, name
