"""Random lives of pods, lost answers, partitions that come and go, one manager or two at once.

No claim is released that its pod could still need; in the end every other claim is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.api.kinds import CAPACITY_CLAIMS, PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.rpc import status
from tests.simulation.controllers.test_claims import World
from tests.support.claims import claim

STEPS = 250
NODES = ("n1", "n2")
PARTITIONS = ("tp-1", "tp-2")


class Chaos:
    """What schedulers, kubelets, people and networks do. ``pods``: names by tenant partition."""

    def __init__(self, world: World, rand: Rand) -> None:
        self.world = world
        self.rand = rand
        self.pods: dict[str, list[str]] = {name: [] for name in PARTITIONS}
        self.created = 0
        self.over = False
        # Binds that were sent and have not arrived: anything may happen before they do.
        self.on_the_way: list[tuple[str, str, str, int]] = []
        world.resource.on_release = self.check
        for partition in (world.resource, *(world.tenants[name] for name in PARTITIONS)):
            self._lose_answers(partition)

    def check(self, held: Any, release: ClaimRelease) -> None:
        """The rule itself: the pod of a claim that ends is not on its node, and can never come there by that claim."""
        spec = held.spec
        pod = self.world.tenants[spec.tenant_partition].get(PODS, spec.pod_name, spec.tenant, spec.namespace)
        if pod is None or pod.metadata.uid != held.metadata.name or pod.status.phase == "Succeeded":
            return
        at_home = (pod.spec.resource_partition, pod.spec.node_name) == ("rp-1", spec.node_name)
        assert not at_home, f"{release} took the room of a pod that is there"
        assert pod.spec.node_name or pod.spec.bind_epoch > spec.bind_epoch, f"{release}: it can still be bound"

    def _lose_answers(self, partition: Any) -> None:
        answers = partition.call

        async def call(path: str, data: bytes) -> bytes:
            if self.over:
                calm: bytes = await answers(path, data)
                return calm
            lost = path.rpartition("/")[2] in ("BatchRevokeBind", "BatchRelease") and self.rand.uniform(0, 1) < 0.2
            if lost and self.rand.uniform(0, 1) < 0.5:
                raise status.unavailable("the request was lost")
            answer: bytes = await answers(path, data)
            # Between an answer and what follows from it, others go on.
            for _ in range(self.rand.integer(0, 6) if path.endswith("BatchRevokeBind") else 0):
                await self.rand.choice((self.claim_again, self.send_bind, self.deliver_bind))()
            if lost:
                raise status.unavailable("the answer was lost")
            return answer

        partition.call = call

    async def step(self) -> None:
        moves = (self.claim, self.claim, self.send_bind, self.send_bind, self.deliver_bind, self.deliver_bind)
        moves += (self.finish, self.delete, self.elsewhere, self.claim_again, self.outage, self.silence, self.wait)
        await self.rand.choice(moves)()

    def pick(self) -> tuple[str, Pod] | None:
        partition = self.rand.choice(PARTITIONS)
        if not self.pods[partition]:
            return None
        found = self.world.tenants[partition].get(PODS, self.rand.choice(self.pods[partition]), "acme", "default")
        return (partition, found) if found is not None else None

    async def claim(self) -> None:
        partition, name = self.rand.choice(PARTITIONS), f"p{self.created}"
        self.created += 1
        self.pods[partition] = [*self.pods[partition], name][-6:]
        self.world.claimed(name, partition=partition, node=self.rand.choice(NODES))

    async def claim_again(self) -> None:
        """A scheduler that was told of a later epoch claims with that one."""
        found = self.pick()
        if found is None or found[1].spec.node_name or found[1].status.phase == "Succeeded":
            return
        partition, pod = found
        held = self.world.resource.get(CAPACITY_CLAIMS, pod.metadata.uid)
        node = held.spec.node_name if held is not None else self.rand.choice(NODES)
        if held is None or held.spec.bind_epoch < pod.spec.bind_epoch:
            made = claim(pod, node, partition=partition, epoch=pod.spec.bind_epoch, created=self.world.clock.time())
            self.world.resource.put(CAPACITY_CLAIMS, made)

    async def send_bind(self) -> None:
        found = self.pick()
        if found is None:
            return
        held = self.world.resource.get(CAPACITY_CLAIMS, found[1].metadata.uid)
        if held is not None:
            self.on_the_way.append((found[0], found[1].metadata.name, held.spec.node_name, held.spec.bind_epoch))

    async def deliver_bind(self) -> None:
        """A bind arrives, however late: it commits only with the current epoch."""
        if not self.on_the_way:
            return
        partition, name, node, epoch = self.on_the_way.pop(self.rand.integer(0, len(self.on_the_way) - 1))
        pod = self.world.tenants[partition].get(PODS, name, "acme", "default")
        if pod is not None and not pod.spec.node_name and pod.spec.bind_epoch == epoch:
            pod.spec.node_name, pod.spec.resource_partition = node, "rp-1"
            self.world.tenants[partition].put(PODS, pod)

    async def elsewhere(self) -> None:
        """Another scheduler's bind wins, in this resource partition or another one."""
        found = self.pick()
        if found is not None and not found[1].spec.node_name:
            found[1].spec.node_name = self.rand.choice(NODES)
            found[1].spec.resource_partition = self.rand.choice(("rp-1", "rp-2"))
            self.world.tenants[found[0]].put(PODS, found[1])

    async def finish(self) -> None:
        found = self.pick()
        if found is not None and found[1].spec.node_name:
            found[1].status.phase = "Succeeded"
            self.world.tenants[found[0]].put(PODS, found[1])

    async def delete(self) -> None:
        found = self.pick()
        if found is not None:
            self.world.tenants[found[0]].remove(PODS, found[1].metadata.name, "acme", "default")

    async def outage(self) -> None:
        tenant = self.world.tenants[self.rand.choice(PARTITIONS)]
        if tenant.down:
            tenant.come_back()
        else:
            tenant.go_down()

    async def silence(self) -> None:
        """The outcome of one pod is not known for a while."""
        found = self.pick()
        if found is not None:
            tenant, uid = self.world.tenants[found[0]], found[1].metadata.uid
            self.rand.choice((tenant.withhold, tenant.answer_for))(uid)

    async def wait(self) -> None:
        await self.world.clock.advance(self.rand.choice((0.05, 1.0, 30.0)))


@pytest.mark.parametrize("managers", [1, 2])
@pytest.mark.parametrize("seed", range(8))
async def test_random_lives(seed: int, managers: int) -> None:
    world = World()
    chaos = Chaos(world, Rand(seed))
    try:
        for number in range(managers):
            world.start(f"controller-{number}", elect=False)
        for _ in range(STEPS):
            await chaos.step()
            await asyncio.sleep(0)
        chaos.over = True
        for name in PARTITIONS:
            world.tenants[name].come_back()
            world.tenants[name].answer_all()
        await world.until(lambda: world.resource.claims == needed(world), seconds=200)
    finally:
        for _, task in world.managers:
            await stop_task(task)


def needed(world: World) -> set[str]:
    """UIDs of the pods that are on the node that is claimed for them."""
    found = set()
    for message in world.resource.objects[CAPACITY_CLAIMS.resource].values():
        spec = message.spec
        pod = world.tenants[spec.tenant_partition].get(PODS, spec.pod_name, spec.tenant, spec.namespace)
        if pod is None or pod.metadata.uid != message.metadata.name or pod.status.phase == "Succeeded":
            continue
        if (pod.spec.resource_partition, pod.spec.node_name) == ("rp-1", spec.node_name):
            found.add(message.metadata.name)
    return found
