"""ReplicaSets of a real tenant partition have their pods, whoever deletes them and whenever the controller dies."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

from services.api import manifests
from services.api.kinds import NAMESPACES, REPLICA_SETS
from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.election import ElectionConfig
from services.client.partitions import Connection
from services.controllers.config import PartitionAddress
from services.controllers.tenant_config import PodGcConfig, ReplicaSetsConfig, TenantControllersConfig
from services.controllers.tenant_manager import TenantControllerManager
from tests.integration.apiserver.world import eventually, named
from tests.integration.controllers.conftest import Cluster
from tests.integration.controllers.tenant_processes import manager_process

ELECTION = ElectionConfig(lease_s=9.0, renew_deadline_s=6.0, retry_s=0.3)


@contextlib.asynccontextmanager
async def manager(cluster: Cluster, **gc: Any) -> AsyncIterator[TenantControllerManager]:
    """The controller manager of tp-1, leading."""
    address = PartitionAddress("tp-1", (cluster.tenants["tp-1"].listen,))
    config = TenantControllersConfig(
        "controller-tp-1",
        address,
        pod_gc=PodGcConfig(**gc),
        replica_sets=ReplicaSetsConfig(status_gather_s=0.02),
        leader_election=ELECTION,
    )
    clock, rand = SystemClock(), Rand(1)
    made = TenantControllerManager(config, Connection("tp-1", address.endpoints, clock, rand), clock=clock, rand=rand)
    task = asyncio.create_task(made.run())
    try:
        await eventually(lambda: _leads(made), within_s=15)
        yield made
    finally:
        await stop_task(task)


async def _leads(made: TenantControllerManager) -> bool:
    return made.pods is not None and made.pods.connected


class Sets:
    """The replica sets and pods of this test's tenant."""

    def __init__(self, cluster: Cluster) -> None:
        self.clients = cluster.at("tp-1")
        self.place = {"tenant": cluster.tenant(), "namespace": "default"}

    async def create(self, name: str, replicas: int, **spec: Any) -> ReplicaSet:
        labels = {"app": name}
        document = {
            "metadata": {"name": name, **self.place},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
                },
                **spec,
            },
        }
        made: ReplicaSet = await self.clients.replica_sets.create(manifests.parse_json(REPLICA_SETS, document))
        return made

    async def scale(self, name: str, replicas: int) -> None:
        await self.clients.replica_sets.patch(name, f'{{"spec": {{"replicas": {replicas}}}}}', **self.place)

    async def get(self, name: str) -> ReplicaSet:
        found: ReplicaSet = await self.clients.replica_sets.get(name, **self.place)
        return found

    async def pods(self, app: str = "") -> list[Pod]:
        selector = f"app={app}" if app else ""
        return list((await self.clients.pods.list(**self.place, label_selector=selector)).items)

    async def has(self, name: str, replicas: int) -> bool:
        """Exactly so many pods, and the status says so."""
        status = (await self.get(name)).status
        return len(await self.pods(name)) == replicas == status.replicas == status.fully_labeled_replicas

    async def settle(self, name: str, replicas: int, within_s: float = 15) -> None:
        await eventually(lambda: self.has(name, replicas), within_s=within_s)

    async def run(self, *pods: Pod) -> None:
        """They run and are ready, as a kubelet would say."""
        for pod in pods:
            pod.status.phase = "Running"
            condition = pod.status.conditions.add(type="Ready", status="True")
            condition.last_transition_time.GetCurrentTime()
            pod.metadata.resource_version = 0
            await self.clients.pods.update_status(pod)


async def test_pods_are_made_with_their_owner_replaced_when_deleted_or_failed_and_scaled(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        made = await sets.create("web", 5)
        await sets.settle("web", 5)
        pods = await sets.pods("web")
        for pod in pods:
            [owner] = pod.metadata.owner_references
            assert (owner.kind, owner.uid, owner.controller) == ("ReplicaSet", made.metadata.uid, True)
            assert owner.block_owner_deletion
            assert pod.metadata.generate_name == "web-" and len(pod.metadata.name) == len("web-") + 5
        await sets.run(*pods[:3])

        async def ready() -> bool:
            status = (await sets.get("web")).status
            return (status.ready_replicas, status.available_replicas) == (3, 3)

        await eventually(ready, within_s=10)
        await sets.clients.pods.delete(pods[0].metadata.name, **sets.place)
        failed = pods[1]
        failed.status.phase = "Failed"
        await sets.clients.pods.update_status(failed)

        async def replaced() -> bool:
            now = await sets.pods("web")
            alive = [pod for pod in now if pod.status.phase != "Failed"]
            return len(now) == 6 and len(alive) == 5

        await eventually(replaced, within_s=10)
        await sets.scale("web", 2)

        async def down() -> bool:
            alive = [pod for pod in await sets.pods("web") if pod.status.phase != "Failed"]
            # The one that is ready stays: it would hurt most.
            return len(alive) == 2 and pods[2].metadata.name in {pod.metadata.name for pod in alive}

        await eventually(down, within_s=10)
        await eventually(lambda: _observed(sets, "web"), within_s=5)


async def _observed(sets: Sets, name: str) -> bool:
    found = await sets.get(name)
    return bool(found.status.observed_generation == found.metadata.generation and found.status.replicas == 2)


async def test_a_large_set_is_made_in_few_requests_and_exactly(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        await sets.create("big", 1200)
        await sets.settle("big", 1200, within_s=30)
        await sets.scale("big", 0)
        await sets.settle("big", 0, within_s=30)


async def test_orphans_are_adopted_and_what_is_not_selected_any_more_is_let_go(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        stray = await cluster.create("stray")
        stray.metadata.labels["app"] = "web"
        await sets.clients.pods.update(stray)
        made = await sets.create("web", 2)
        await sets.settle("web", 2)
        live = await sets.clients.pods.get("stray", **sets.place)
        assert [owner.uid for owner in live.metadata.owner_references] == [made.metadata.uid]
        await sets.clients.pods.patch("stray", '{"metadata": {"labels": {"app": "debug"}}}', **sets.place)
        await sets.settle("web", 2)

        async def free() -> bool:
            return not (await sets.clients.pods.get("stray", **sets.place)).metadata.owner_references

        await eventually(free, within_s=10)


async def test_deletion_takes_the_pods_along_or_orphans_them(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        for name, policy, left in (("back", "", 0), ("fore", "Foreground", 0), ("orph", "Orphan", 3)):
            await sets.create(name, 3)
            await sets.settle(name, 3)
            await sets.clients.replica_sets.delete(name, **sets.place, propagation_policy=policy)

            async def gone(name: str = name, left: int = left) -> bool:
                names = {one.metadata.name for one in (await sets.clients.replica_sets.list(**sets.place)).items}
                pods = await sets.pods(name)
                return name not in names and len(pods) == left and not any(p.metadata.owner_references for p in pods)

            await eventually(gone, within_s=15)
        # The next of its kind takes them over.
        await sets.create("orph", 2)
        await sets.settle("orph", 2)


async def test_what_cannot_be_made_is_told_by_a_condition(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        template = {
            "metadata": {"labels": {"app": "bad"}},
            "spec": {"priorityClassName": "no-such-class", "containers": [{"name": "c", "image": "busybox:1"}]},
        }
        await sets.create("bad", 3, template=template)

        async def told() -> bool:
            conditions = (await sets.get("bad")).status.conditions
            return any(
                (one.type, one.status, one.reason) == ("ReplicaFailure", "True", "FailedCreate")
                and "no-such-class" in one.message
                for one in conditions
            )

        await eventually(told, within_s=10)
        assert await sets.pods("bad") == []
        await sets.clients.replica_sets.delete("bad", **sets.place)


async def test_a_controller_that_is_killed_midway_neither_doubles_nor_loses(
    cluster: Cluster, tmp_path: pathlib.Path
) -> None:
    sets = Sets(cluster)
    for number in range(20):
        await sets.create(f"set-{number}", 60)
    async with manager_process(cluster, tmp_path, "one") as first:

        async def begun() -> bool:
            return len(await sets.pods()) >= 100

        await eventually(begun, within_s=20)
        await first.kill()
    at_kill = len(await sets.pods())
    async with manager_process(cluster, tmp_path, "two"):
        for number in range(20):
            await sets.settle(f"set-{number}", 60, within_s=40)
        assert len(await sets.pods()) == 1200
    assert at_kill < 1200, "it was killed too late to say anything"


async def test_a_namespace_ends_with_its_replica_sets(cluster: Cluster) -> None:
    async with manager(cluster):
        sets = Sets(cluster)
        await sets.clients.namespaces.create(named(NAMESPACES, "shop", tenant=cluster.tenant()))
        sets.place = {**sets.place, "namespace": "shop"}
        await sets.create("web", 5)
        await sets.settle("web", 5)
        await sets.clients.namespaces.delete("shop", tenant=cluster.tenant())

        async def gone() -> bool:
            listing = await sets.clients.namespaces.list(tenant=cluster.tenant())
            return "shop" not in {one.metadata.name for one in listing.items}

        await eventually(gone, within_s=20)
        assert await sets.pods() == []
