"""What a two-tenant user does with a cluster of two tenant and two resource partitions, however it was started.

Used by ``test_onebox`` (processes) and by the compose test (containers).
"""

from __future__ import annotations

import time

from tests.e2e import manifests
from tests.support.cluster import Cluster, eventually

TENANTS = ("red", "blue")
RUNNING_WITHIN_S = 60.0


def create_tenants_on_different_partitions(cluster: Cluster) -> None:
    cluster.ursa("create", "tenant", "red", "--partition", "tp-1")
    cluster.ursa("create", "tenant", "blue", "--partition", "tp-2")
    placed = {item["metadata"]["name"]: item["spec"]["tenantPartition"] for item in cluster.items("tenantplacements")}
    assert placed["red"] == "tp-1" and placed["blue"] == "tp-2"


def apply_a_manifest_to_each_and_wait_until_all_run(cluster: Cluster) -> None:
    start = time.monotonic()
    for tenant in TENANTS:
        output = cluster.ursa("apply", "--tenant", tenant, "-f", "-", stdin=manifests.APP)
        assert "pod/web created" in output and "namespace/shop created" in output
    for tenant in TENANTS:
        eventually(
            lambda tenant=tenant: phases(cluster, tenant) == {"Running": 4},
            within_s=RUNNING_WITHIN_S - (time.monotonic() - start),
            what=f"every pod of {tenant} Running",
        )


def phases(cluster: Cluster, tenant: str, namespace: str = "shop") -> dict[str, int]:
    counts: dict[str, int] = {}
    for pod in cluster.items("pods", "--tenant", tenant, "-n", namespace):
        phase = pod["status"].get("phase", "?")
        counts[phase] = counts.get(phase, 0) + 1
    return counts


def each_tenant_has_pods_on_nodes_of_both_resource_partitions(cluster: Cluster) -> None:
    nodes = {
        (node["metadata"]["labels"]["ursa.io/resource-partition"], node["metadata"]["name"])
        for node in cluster.items("nodes")
    }
    for tenant in TENANTS:
        pods = cluster.items("pods", "--tenant", tenant, "-n", "shop")
        homes = {(pod["spec"]["resourcePartition"], pod["spec"]["nodeName"]) for pod in pods}
        assert homes <= nodes, f"{tenant} has pods on missing nodes: {homes - nodes}"
        assert {partition for partition, _ in homes} == {"rp-1", "rp-2"}, f"{tenant}: {homes}"


def the_wide_table_shows_tenant_partition_node_and_resource_partition(cluster: Cluster) -> None:
    table = cluster.ursa("get", "pods", "--all-tenants", "-A", "-o", "wide")
    header, *rows = table.splitlines()
    for column in ("TENANT", "NAME", "STATUS", "TP", "NODE", "RP"):
        assert column in header.split(), header
    red = next(row.split() for row in rows if row.split()[0] == "red" and "web" in row.split())
    blue = next(row.split() for row in rows if row.split()[0] == "blue" and "web" in row.split())
    assert "tp-1" in red and "tp-2" in blue
    assert {"rp-1", "rp-2"} & set(red) and {"rp-1", "rp-2"} & set(blue)


def an_unchanged_manifest_changes_nothing(cluster: Cluster) -> None:
    before = cluster.items("pods", "web", "--tenant", "red", "-n", "shop")[0]["metadata"]["resourceVersion"]
    output = cluster.ursa("apply", "--tenant", "red", "-f", "-", stdin=manifests.APP)
    assert "pod/web unchanged" in output and "configured" not in output and "created" not in output
    assert cluster.items("pods", "web", "--tenant", "red", "-n", "shop")[0]["metadata"]["resourceVersion"] == before


def a_deleted_pod_ends_on_its_node(cluster: Cluster) -> None:
    cluster.ursa("delete", "pod", "api", "--tenant", "blue", "-n", "shop")
    names = {pod["metadata"]["name"] for pod in cluster.items("pods", "--tenant", "blue", "-n", "shop")}
    assert names == {"web", "worker-1", "worker-2"}


def a_request_to_the_wrong_partition_names_the_right_one(cluster: Cluster) -> None:
    refused = cluster.run("get", "pods", "--tenant", "red", "-n", "shop", "--partition", "tp-2")
    assert refused.returncode == 1
    assert "WrongPartition" in refused.stderr and "tp-1" in refused.stderr, refused.stderr


def a_tenant_name_has_one_owner(cluster: Cluster) -> None:
    refused = cluster.run("create", "tenant", "red", "--partition", "tp-2")
    assert refused.returncode == 1, refused.stdout
    assert "tp-1" in refused.stderr
    owners = [item["metadata"]["name"] for item in cluster.items("tenants") if item["metadata"]["name"] == "red"]
    assert owners == ["red"]


def deleting_a_namespace_deletes_what_is_in_it(cluster: Cluster) -> None:
    cluster.ursa("delete", "namespace", "shop", "--tenant", "red", timeout_s=60)
    remaining = cluster.run("get", "pods", "--tenant", "red", "-n", "shop", "-o", "name")
    assert "pod/" not in remaining.stdout


def exactly_the_pods_that_hold_a_node_have_a_claim(cluster: Cluster) -> None:
    """What was deleted left no claim behind, what runs has one, and the ledgers' sums are theirs."""
    eventually(
        lambda: claims_of(cluster) == holders_of(cluster), within_s=60, what="one claim per running pod, none more"
    )
    counted = sum(total.get("pods", 0) for total in _totals(cluster))
    assert counted == len(claims_of(cluster))
    table = cluster.ursa("get", "capacityclaims")
    assert "blue/shop/web" in table and "red/shop" not in table, table


def claims_of(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Node and tenant partition of each claim, by pod UID."""
    return {
        item["metadata"]["name"]: (item["spec"]["nodeName"], item["spec"]["tenantPartition"])
        for item in cluster.items("capacityclaims")
    }


def holders_of(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """The same of every pod that is bound and has not ended."""
    homes = {item["metadata"]["name"]: item["spec"]["tenantPartition"] for item in cluster.items("tenantplacements")}
    return {
        pod["metadata"]["uid"]: (pod["spec"]["nodeName"], homes[pod["metadata"]["tenant"]])
        for pod in cluster.items("pods", "--all-tenants", "-A")
        if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ("Succeeded", "Failed")
    }


def _totals(cluster: Cluster) -> list[dict[str, int]]:
    found = [total for ledger in cluster.items("capacityledgers") for total in ledger.get("claimed", [])]
    return [{name: int(value) for name, value in total.items() if name == "pods"} for total in found]


STEPS = (
    create_tenants_on_different_partitions,
    apply_a_manifest_to_each_and_wait_until_all_run,
    each_tenant_has_pods_on_nodes_of_both_resource_partitions,
    the_wide_table_shows_tenant_partition_node_and_resource_partition,
    an_unchanged_manifest_changes_nothing,
    a_deleted_pod_ends_on_its_node,
    a_request_to_the_wrong_partition_names_the_right_one,
    a_tenant_name_has_one_owner,
    deleting_a_namespace_deletes_what_is_in_it,
    exactly_the_pods_that_hold_a_node_have_a_claim,
)
