"""The cluster of deploy/compose, as `make test-compose` starts it: the end-to-end scenario, hardening, recovery."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.compose import containers
from tests.e2e import manifests, scenario
from tests.support.cluster import Cluster, eventually

CONTEXT = os.environ.get("URSA_COMPOSE_CONTEXT", "")

if not CONTEXT:
    pytest.skip("needs the containers that `make test-compose` starts", allow_module_level=True)

pytestmark = [pytest.mark.compose, pytest.mark.timeout(240)]

PARTITIONS = ("tp-1", "tp-2", "rp-1", "rp-2")
SERVICES = {
    *PARTITIONS,
    *(f"etcd-{name}" for name in PARTITIONS),
    *(f"scheduler-{name}" for name in PARTITIONS if name.startswith("tp")),
    *(f"controller-{name}" for name in PARTITIONS),
    "hollow",
}


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(arguments=("--context", CONTEXT))


@pytest.fixture(scope="module")
def inspected() -> dict[str, dict[str, Any]]:
    return containers.inspect()


def test_every_container_runs_and_is_healthy(inspected: dict[str, dict[str, Any]]) -> None:
    assert set(inspected) == SERVICES
    health = {service: entry["State"]["Health"]["Status"] for service, entry in inspected.items()}
    assert health == dict.fromkeys(SERVICES, "healthy")


def test_every_ursa_process_runs_from_one_image(inspected: dict[str, dict[str, Any]]) -> None:
    assert len({entry["Image"] for service, entry in inspected.items() if not service.startswith("etcd-")}) == 1


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_has_no_privileges(inspected: dict[str, dict[str, Any]], service: str) -> None:
    config, host = inspected[service]["Config"], inspected[service]["HostConfig"]
    assert config["User"].split(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"] and host["Init"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    published = [binding for bindings in host["PortBindings"].values() for binding in bindings]
    assert {binding["HostIp"] for binding in published} == ({"127.0.0.1"} if service in PARTITIONS else set())


def test_an_etcd_is_reachable_for_its_own_partition_only(inspected: dict[str, dict[str, Any]]) -> None:
    networks = {service: set(entry["NetworkSettings"]["Networks"]) for service, entry in inspected.items()}
    for partition in PARTITIONS:
        etcd = f"etcd-{partition}"
        assert {service for service, joined in networks.items() if joined & networks[etcd]} == {etcd, partition}


@pytest.mark.parametrize("step", scenario.STEPS, ids=lambda step: step.__name__)
def test_two_tenants(cluster: Cluster, step: Any) -> None:
    step(cluster)


@pytest.mark.parametrize("service", ["scheduler-tp-2", "controller-rp-1", "tp-2", "rp-1", "hollow"])
def test_a_crashed_process_is_restarted_and_the_cluster_goes_on(cluster: Cluster, service: str) -> None:
    before = containers.inspect()[service]["RestartCount"]
    containers.crash(service)
    eventually(
        lambda: containers.inspect()[service]["RestartCount"] > before and containers.is_healthy(service),
        within_s=60,
        what=f"{service} restarted and healthy",
    )
    _runs_a_new_pod(cluster, f"after-{service}")


def test_state_is_in_the_volume_not_in_the_container(cluster: Cluster) -> None:
    uids = _uids(cluster)
    assert uids
    replaced = containers.inspect()["etcd-tp-2"]["Id"]
    containers.compose("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "etcd-tp-2")
    assert containers.inspect()["etcd-tp-2"]["Id"] != replaced
    eventually(
        lambda: containers.is_healthy("etcd-tp-2") and containers.is_healthy("tp-2"),
        within_s=60,
        what="etcd-tp-2 and tp-2 healthy",
    )
    eventually(lambda: _uids(cluster) == uids, within_s=30, what="the same pods after etcd-tp-2 was replaced")
    _runs_a_new_pod(cluster, "after-etcd")


def _uids(cluster: Cluster) -> set[str]:
    listed = cluster.run("get", "pods", "--tenant", "blue", "-A", "-o", "name")
    assert listed.returncode == 0, listed.stderr
    return {pod["metadata"]["uid"] for pod in cluster.items("pods", "--tenant", "blue", "-A")}


def _runs_a_new_pod(cluster: Cluster, name: str) -> None:
    """A pod is accepted and runs: every part of the cluster that a pod of tenant blue needs is back."""

    def applied() -> bool:
        return (
            cluster.run("apply", "--tenant", "blue", "-f", "-", stdin=manifests.POD.format(name=name)).returncode == 0
        )

    eventually(applied, within_s=30, what=f"pod {name} accepted")
    eventually(
        lambda: cluster.items("pods", name, "--tenant", "blue")[0]["status"].get("phase") == "Running",
        within_s=60,
        what=f"pod {name} Running",
    )
