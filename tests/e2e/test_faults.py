"""Any process may be killed while pods are being created: nothing acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

import grpc
import pytest

from services.api.pb.ursa.core.v1 import pod_pb2
from services.client.clientset import Clientset
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.e2e import scenario
from tests.support.cluster import OneBox, eventually, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TENANTS = {"red": "tp-1", "blue": "tp-2"}
VICTIMS = ("scheduler-tp-1", "controller-tp-1", "controller-rp-1", "tp-1", "rp-1", "etcd-tp-1", "etcd-rp-1", "hollow")
PODS_PER_TENANT = 120
KILL_AFTER = 40
RUNNING_WITHIN_S = 60.0

RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    with onebox(tmp_path_factory.mktemp("faults") / "home", "--no-examples", "--nodes", "10") as running:
        for tenant, partition in TENANTS.items():
            running.ursa("create", "tenant", tenant, "--partition", partition)
        yield running


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_loses_nothing(box: OneBox, victim: str) -> None:
    namespace = f"kill-{victim}"
    for tenant in TENANTS:
        box.ursa("create", "namespace", namespace, "--tenant", tenant)
    restarts = box.component(victim)["restarts"]

    bound = asyncio.run(create_while_killing(box, namespace, victim))

    for tenant in TENANTS:
        eventually(
            lambda tenant=tenant: running_pods(box, tenant, namespace) == PODS_PER_TENANT,
            within_s=RUNNING_WITHIN_S,
            what=f"all {PODS_PER_TENANT} acknowledged pods of {tenant} Running after the kill of {victim}",
            pause_s=1.0,
        )
    eventually(lambda: box.component(victim)["ready"], within_s=60, what=f"{victim} ready again")
    assert box.component(victim)["restarts"] == restarts + 1
    assert_none_runs_twice_or_nowhere(box, namespace, bound)


def test_no_claim_is_left_over_after_all_that(box: OneBox) -> None:
    """A claim whose claimant was killed is found by review, a minute after nobody came back for it."""
    eventually(
        lambda: scenario.claims_of(box) == scenario.holders_of(box),
        within_s=90,
        what="one claim per pod on a node, none more",
        pause_s=1.0,
    )


def running_pods(box: OneBox, tenant: str, namespace: str) -> int:
    listed = box.run(
        "get", "pods", "--tenant", tenant, "-n", namespace, "--field-selector", "status.phase=Running", "-o", "name"
    )
    return len(listed.stdout.split())


async def create_while_killing(box: OneBox, namespace: str, victim: str) -> dict[str, set[tuple[str, str]]]:
    """Create pods for every tenant, kill the victim midway, return every placement that a watcher saw, by UID."""
    endpoints = {entry["name"]: entry["endpoint"] for entry in box.status()["partitions"]}
    bound: dict[str, set[tuple[str, str]]] = defaultdict(set)
    killed = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        clients: dict[str, Clientset] = {}
        for tenant, partition in TENANTS.items():
            channel = await stack.enter_async_context(make_channel([endpoints[partition]]))
            clients[tenant] = Clientset(channel)
        watchers = [asyncio.create_task(record(clients[tenant], tenant, namespace, bound)) for tenant in TENANTS]
        try:
            async with asyncio.TaskGroup() as group:
                for tenant in TENANTS:
                    group.create_task(create_all(clients[tenant], tenant, namespace, killed, lambda: box.kill(victim)))
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
    assert killed.is_set()
    return bound


async def create_all(client: Clientset, tenant: str, namespace: str, killed: asyncio.Event, kill: object) -> None:
    """One create after another, each retried by name until it is acknowledged or found to exist."""
    assert callable(kill)
    for index in range(PODS_PER_TENANT):
        if index == KILL_AFTER and not killed.is_set():
            killed.set()
            await asyncio.to_thread(kill)
        pod = pod_pb2.Pod()
        pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name = tenant, namespace, f"pod-{index:04d}"
        container = pod.spec.containers.add(name="main", image="busybox")
        container.resources.requests["cpu"] = "10m"
        async with asyncio.timeout(60):
            while True:
                try:
                    await client.pods.create(pod)
                    break
                except StatusError as refusal:
                    if refusal.reason == "AlreadyExists":
                        break  # an earlier try was acknowledged to nobody, but done
                    assert refusal.code in RETRYABLE, refusal
                    await asyncio.sleep(refusal.retry_after_s or 0.2)


async def record(client: Clientset, tenant: str, namespace: str, bound: dict[str, set[tuple[str, str]]]) -> None:
    while True:
        with contextlib.suppress(StatusError):
            async for batch in client.pods.watch(tenant=tenant, namespace=namespace):
                for event in batch.events:
                    pod = event.object
                    if pod.spec.node_name:
                        bound[pod.metadata.uid].add((pod.spec.resource_partition, pod.spec.node_name))
        await asyncio.sleep(0.2)  # the partition is being restarted


def assert_none_runs_twice_or_nowhere(box: OneBox, namespace: str, bound: dict[str, set[tuple[str, str]]]) -> None:
    nodes = {
        (node["metadata"]["labels"]["ursa.io/resource-partition"], node["metadata"]["name"])
        for node in box.items("nodes")
    }
    started: dict[str, set[str]] = defaultdict(set)
    for line in box.logs("hollow"):
        if line.get("message") == "pod started" and line.get("uid"):
            started[line["uid"]].add(line["node"])
    for tenant in TENANTS:
        for pod in box.items("pods", "--tenant", tenant, "-n", namespace):
            uid, spec = pod["metadata"]["uid"], pod["spec"]
            home = (spec["resourcePartition"], spec["nodeName"])
            assert home in nodes, f"{pod['metadata']['name']} is on {home}, which does not exist"
            assert bound.get(uid, {home}) <= {home}, f"{pod['metadata']['name']} was bound to {bound[uid]}"
            assert started[uid] == {spec["nodeName"]}, f"{pod['metadata']['name']} was started on {started[uid]}"
