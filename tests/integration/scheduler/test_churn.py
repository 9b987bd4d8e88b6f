"""Two tenant partitions over two resource partitions with hollow nodes, pods coming and going: no kubelet says no."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from services.api import kinds
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.base.rand import Rand
from services.client.informer import Change, Informer
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import eventually
from tests.support.scheduler_processes import Schedulers, schedulers

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28540
ROUNDS = 6
EACH = 20
# Of one tenant; the other may hold nearly all of the room meanwhile.
ENOUGH = 4
SIZES = ("200m", "400m", "700m", "1", "1500m", "2")


async def churn(made: Schedulers, partition: str, rand: Rand) -> None:
    """Pods of random sizes, more than there is room for; some that run go between the rounds."""
    pods = made.connections[partition].clientset.pods
    tenant = made.tenants[partition]
    for round_ in range(ROUNDS):
        for number in range(EACH):
            await made.add_pods(partition, [f"p{round_}-{number}"], cpu=SIZES[int(rand.uniform(0, len(SIZES)))])

        async def some_run() -> bool:
            listed = (await pods.list(tenant=tenant, namespace="default")).items
            return sum(pod.status.phase == "Running" for pod in listed) >= ENOUGH

        await eventually(some_run, what="some pods running")
        running = [
            pod for pod in (await pods.list(tenant=tenant, namespace="default")).items if pod.status.phase == "Running"
        ]
        leaving = [pod for pod in running if rand.uniform(0, 1) < 0.5]
        await pods.batch_delete(
            DeleteRequest(tenant=tenant, namespace="default", name=pod.metadata.name) for pod in leaving
        )
    # Whoever is done makes room: its waiting pods would take all that the other gives up. One that is bound meanwhile
    # stays.
    listed = (await pods.list(tenant=tenant, namespace="default")).items
    await pods.batch_delete(
        DeleteRequest(
            tenant=tenant,
            namespace="default",
            name=pod.metadata.name,
            preconditions=Preconditions(resource_version=pod.metadata.resource_version),
        )
        for pod in listed
        if not pod.spec.node_name
    )


async def test_no_pod_is_turned_away_by_a_kubelet(tmp_path: pathlib.Path) -> None:
    async with schedulers(tmp_path, BASE_PORT, 2, 2) as made:
        failed: dict[str, str] = {}
        seen: set[str] = set()

        def look(changes: list[Change[Pod]]) -> None:
            for change in changes:
                if change.new is not None:
                    seen.add(change.new.metadata.uid)
                    if change.new.status.phase == "Failed":
                        failed[change.new.metadata.name] = change.new.status.reason

        await made.start_kubelets(4, "4")
        await made.start_controllers()
        await made.start_schedulers(backoff_initial_s=0.2, backoff_max_s=1.0)
        for partition in made.tenants:
            informer = Informer(made.connections[partition].mux, kinds.PODS, tenant="*", on_batch=look).start()
            await informer.synced.wait()
        async with asyncio.TaskGroup() as both:
            for number, partition in enumerate(made.tenants):
                both.create_task(churn(made, partition, Rand(number)))

        async def all_placed_run() -> bool:
            return all(
                pod.status.phase == "Running" and not pod.metadata.HasField("deletion_timestamp")
                for pod in await made.pods()
                if pod.spec.node_name
            )

        await eventually(all_placed_run, what="every placed pod running")
        assert failed == {}
        assert len(seen) == 2 * ROUNDS * EACH
        pods = await made.pods()
        assert {pod.spec.resource_partition for pod in pods if pod.spec.node_name} == {"rp-1", "rp-2"}
        await made.assert_no_node_over_committed()
