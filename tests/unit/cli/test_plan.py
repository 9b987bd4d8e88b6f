"""The one-box as a plan: components, ports and configurations from options."""

from __future__ import annotations

import pathlib
import tomllib

import pytest

from services.base import config
from services.cli.errors import UsageError
from services.cli.onebox import launch, toml
from services.cli.onebox.home import Home
from services.cli.onebox.plan import ClusterPlan, Options, plan
from services.controllers.config import ControllersConfig
from services.controllers.tenant_config import TenantControllersConfig
from services.kubelet.config import KubeletConfig
from services.scheduler.config import SchedulerConfig

HOME = Home(pathlib.Path("/data/ursa"))


def made(**options: object) -> ClusterPlan:
    return plan(Options(**options), HOME, etcd_binary="/usr/bin/etcd", python="python3")  # type: ignore[arg-type]


def test_the_default_cluster() -> None:
    found = made()
    assert [component.name for component in found.components] == [
        "etcd-tp-1",
        "etcd-tp-2",
        "etcd-rp-1",
        "etcd-rp-2",
        "tp-1",
        "tp-2",
        "rp-1",
        "rp-2",
        "scheduler-tp-1",
        "scheduler-tp-2",
        "controller-tp-1",
        "controller-tp-2",
        "controller-rp-1",
        "controller-rp-2",
        "hollow",
    ]
    endpoints = {partition.name: partition.endpoint for partition in found.context.partitions}
    assert endpoints == {
        "tp-1": "127.0.0.1:7110",
        "tp-2": "127.0.0.1:7120",
        "rp-1": "127.0.0.1:7160",
        "rp-2": "127.0.0.1:7170",
    }


@pytest.mark.parametrize("schedulers", [1, 2, 5])
@pytest.mark.parametrize(("tenant", "resource"), [(1, 1), (2, 2), (5, 3), (6, 1), (12, 12), (64, 64)])
def test_no_port_is_used_twice(tenant: int, resource: int, schedulers: int) -> None:
    found = made(tenant_partitions=tenant, resource_partitions=resource, schedulers=schedulers)
    ports = [port for component in found.components for port in component.ports.values()]
    assert len(ports) == len(set(ports)) == 5 * (tenant + resource) + schedulers * tenant + 2


def test_several_schedulers_of_a_partition_elect_one() -> None:
    found = made(schedulers=2)
    names = [component.name for component in found.components if component.kind == "scheduler"]
    assert names == ["scheduler-tp-1", "scheduler-tp-1-2", "scheduler-tp-2", "scheduler-tp-2-2"]
    for name in names:
        loaded = config.convert(tomllib.loads(found.files[f"config/{name}.toml"]), SchedulerConfig, source=name)
        assert loaded.name == name and loaded.leader_election.enabled
    alone = config.convert(
        tomllib.loads(made().files["config/scheduler-tp-1.toml"]), SchedulerConfig, source="scheduler-tp-1"
    )
    assert not alone.leader_election.enabled


def test_each_resource_partition_has_a_controller_manager() -> None:
    text = made().files["config/controller-rp-2.toml"]
    loaded = config.convert(tomllib.loads(text), ControllersConfig, source="controller-rp-2")
    assert loaded.resource_partition.name == "rp-2"
    assert loaded.resource_partition.endpoints == ("127.0.0.1:7170",)
    assert loaded.leader_election.enabled


def test_each_tenant_partition_has_a_controller_manager() -> None:
    found = made()
    text = found.files["config/controller-tp-2.toml"]
    loaded = config.convert(tomllib.loads(text), TenantControllersConfig, source="controller-tp-2")
    assert loaded.tenant_partition.name == "tp-2"
    assert loaded.tenant_partition.endpoints == ("127.0.0.1:7120",)
    assert loaded.leader_election.enabled
    [component] = [one for one in found.components if one.name == "controller-tp-2"]
    assert (component.kind, component.partition, component.ports) == ("controllers", "tp-2", {"metrics": 7124})


def test_data_is_ended_last() -> None:
    order = {component.kind: component.stop_order for component in made().components}
    assert (
        order["scheduler"]
        == order["controllers"]
        == order["kubelet"]
        < order["tenant-partition"]
        == order["resource-partition"]
        < order["etcd"]
    )


def test_etcd_is_started_for_us_alone_and_never_compacts_by_itself() -> None:
    etcd = made().components[0]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in etcd.argv[1:])
    assert flags["max-txn-ops"] == "4096" and int(flags["quota-backend-bytes"]) > 2 << 30
    assert flags["auto-compaction-retention"] == "0"
    assert all("127.0.0.1" in flags[name] for name in flags if name.endswith("-urls"))


def test_configurations_link_the_partitions() -> None:
    files = {name: tomllib.loads(text) for name, text in made(nodes=3, start_delay_ms=50).files.items()}
    tenant = files["config/tp-1.toml"]
    assert tenant["etcd"]["endpoints"] == ["127.0.0.1:7112"]
    assert [(one["name"], one["placement_home"]) for one in tenant["resource_partitions"]] == [
        ("rp-1", True),
        ("rp-2", False),
    ]
    assert [one["name"] for one in files["config/rp-1.toml"]["tenant_partitions"]] == ["tp-1", "tp-2"]
    assert files["config/rp-1.toml"]["placement_home"] and not files["config/rp-2.toml"]["placement_home"]
    assert files["config/scheduler-tp-2.toml"]["tenant_partition"]["endpoints"] == ["127.0.0.1:7120"]
    assert [(pool["nodes"], pool["start_delay_ms"]) for pool in files["config/hollow.toml"]["pools"]] == [(3, 50)] * 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tenant_partitions": 0}, "--tenant-partitions"),
        ({"resource_partitions": 65}, "--resource-partitions"),
        ({"nodes": -1}, "--nodes"),
        ({"schedulers": 0}, "--schedulers"),
        ({"schedulers": 6}, "--schedulers"),
        ({"base_port": 80}, "--base-port"),
        ({"base_port": 65500}, "--base-port"),
        ({"sample_ratio": 1.5}, "--sample-ratio"),
        ({"start_delay_ms": -1}, "--start-delay-ms"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        made(**options)


def test_settings_that_are_not_given_are_those_of_the_last_time(tmp_path: pathlib.Path) -> None:
    home = Home(tmp_path)
    home.context_file.write_text('{"options": {"nodes": 3, "base_port": 17000, "tenant_partitions": 2}}')
    assert launch.chosen(home, {"nodes": None, "sample_ratio": 0.5}) == Options(
        nodes=3, base_port=17000, sample_ratio=0.5
    )


def test_a_partition_that_holds_data_is_not_left_out(tmp_path: pathlib.Path) -> None:
    home = Home(tmp_path)
    home.context_file.write_text('{"options": {"tenant_partitions": 3}}')
    with pytest.raises(UsageError, match="3 tenant partitions") as refused:
        launch.chosen(home, {"tenant_partitions": 2})
    assert "make clean" in refused.value.hint


def test_toml_reads_back() -> None:
    document = {
        "text": 'a "quoted" \\ line\nand \x7f é',
        "number": 1,
        "ratio": 0.01,
        "flag": True,
        "list": ["a", "b"],
        "none": [],
        "table": {"a.b": 1, "inner": {"x": "y"}},
        "rows": [{"name": "a", "sub": {"k": 1}}, {"name": "b"}],
    }
    assert tomllib.loads(toml.dumps(document)) == document


def test_hollow_hosts_share_the_nodes_and_have_ports_of_their_own() -> None:
    found = made(nodes=5, hollow_hosts=2)
    hosts = [component for component in found.components if component.kind == "kubelet"]
    assert [host.name for host in hosts] == ["hollow", "hollow-2"]
    ports = [port for host in hosts for port in host.ports.values()]
    assert len(set(ports)) == 4
    for host, nodes in zip(hosts, (3, 2), strict=True):
        document = tomllib.loads(found.files[f"config/{host.name}.toml"])
        assert [pool["nodes"] for pool in document["pools"]] == [nodes, nodes]
        assert document["listen"] == f"127.0.0.1:{host.ports['grpc']}"


def test_real_nodes_in_place_of_hollow_ones() -> None:
    found = made(runtime="process", nodes=2, tenant_partitions=1, resource_partitions=1)
    assert [component.name for component in found.components][-1] == "kubelet"
    written = config.convert(tomllib.loads(found.files["config/kubelet.toml"]), KubeletConfig, source="kubelet.toml")
    assert written.problems() == []
    [pool] = written.pools
    assert (pool.runtime, pool.root, pool.nodes) == ("process", "/data/ursa/processes", 2)
    assert written.listen == "127.0.0.1:7100"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nodes": 21}, "--nodes must be between 1 and 20"),
        ({"hollow_hosts": 2}, "--hollow-hosts is about hollow nodes"),
        ({"start_delay_ms": 5}, "--start-delay-ms is about hollow nodes"),
    ],
)
def test_options_of_hollow_nodes_are_none_of_real_ones(options: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        made(runtime="process", **options)


@pytest.mark.parametrize(("nodes", "hosts", "shares"), [(10, 1, [10]), (10, 3, [4, 3, 3]), (5, 5, [1, 1, 1, 1, 1])])
def test_hollow_hosts_share_the_nodes_under_names_of_their_own(nodes: int, hosts: int, shares: list[int]) -> None:
    found = made(nodes=nodes, hollow_hosts=hosts)
    names = [component.name for component in found.components if component.kind == "kubelet"]
    assert names == ["hollow", *(f"hollow-{host}" for host in range(2, hosts + 1))]
    files = [tomllib.loads(found.files[f"config/{name}.toml"]) for name in names]
    assert [[pool["nodes"] for pool in file["pools"]] for file in files] == [[share, share] for share in shares]
    prefixes = [pool["name_prefix"] for file in files for pool in file["pools"]]
    assert len(set(prefixes)) == len({file["name"] for file in files}) * 2 == 2 * hosts
    ports = [port for component in found.components for port in component.ports.values()]
    assert len(ports) == len(set(ports))


def test_each_hollow_host_has_a_node() -> None:
    with pytest.raises(UsageError, match="--hollow-hosts 4"):
        made(nodes=3, hollow_hosts=4)
    with pytest.raises(UsageError, match="--hollow-hosts must be between 1 and 5"):
        made(nodes=10, hollow_hosts=6)


def test_schedulers_and_kubelets_write_pod_timelines_if_asked() -> None:
    def timelines(**options: object) -> dict[str, str]:
        files = {name: tomllib.loads(text) for name, text in made(**options).files.items()}
        return {name: file["telemetry"].get("pod_timeline", "") for name, file in files.items()}

    assert not any(timelines().values())
    named = {name: file for name, file in timelines(pod_timeline=True, hollow_hosts=2).items() if file}
    assert named == {
        f"config/{name}.toml": f"/data/ursa/timelines/{name}.tl"
        for name in ("scheduler-tp-1", "scheduler-tp-2", "hollow", "hollow-2")
    }
