"""Random histories: nodes die and return, partitions are cut off, stores fail, the manager is stopped or replaced.

Whatever happens, no node is taken for lost that was not silent for its whole grace period (``World.wrong``); once the
faults are over, every pod of a dead node has been evicted by its tenant partition, and no other.
"""

from __future__ import annotations

import pytest

from services.base.rand import Rand
from services.controllers.nodes.facts import NOT_READY, UNREACHABLE
from services.placement.nodes import is_ready
from tests.simulation.nodes.world import World, world

NODES = 12
ZONES = ("a", "b", "c")
EVENTS = 15
# Grace, a look, a new beginning after blindness, and the slowest backoff.
SETTLED_AFTER_S = 200


# 113: a node whose turn came while the manager was blind was forgotten.
@pytest.mark.parametrize("seed", (*range(10), 113))
async def test_a_random_history(seed: int) -> None:
    rand = Rand(seed)
    async with world(nodes=NODES, zones=ZONES) as made:
        for number in range(3 * NODES):
            made.add_pod(f"p{number}", f"n{number % NODES}", rand.choice(("tp-1", "tp-2")))
        for _ in range(EVENTS):
            await _happen(made, rand)
            assert made.wrong == [], f"seed {seed}"
        await _settle(made, rand)
        _judge(made, f"seed {seed}")


async def _happen(made: World, rand: Rand) -> None:
    name = f"n{rand.integer(0, NODES - 1)}"
    seconds = rand.choice((3, 10, 25, 60, 120))
    partition = made.tenants[rand.choice(("tp-1", "tp-2"))]
    match rand.integer(0, 9):
        case 0 | 1:
            made.die(name)
        case 2 | 3:
            made.come_back(name)
        case 4:
            made.resource.go_down()
            await made.step(seconds)
            made.resource.come_back()
        case 5:
            made.etcd(down=True)
            await made.step(seconds)
            made.etcd(down=False)
        case 6:
            partition.go_down()
            await made.step(seconds)
            if rand.integer(0, 1):
                partition.come_back()
        case 7:
            made.pass_without_manager(seconds)
        case 8:
            await made.stop_manager()
            await made.step(rand.integer(0, 20))
            made.start_manager()
        case 9:
            made.resource.drop_streams()
    await made.step(seconds)


async def _settle(made: World, rand: Rand) -> None:
    for partition in made.tenants.values():
        partition.come_back()
    # One that lives in every zone, so that the dead are given up.
    for number in range(len(ZONES)):
        made.come_back(f"n{number}")
    await made.step(SETTLED_AFTER_S)


def _judge(made: World, why: str) -> None:
    for name, kubelet in made.kubelets.items():
        executing = {key for key, effect in made.taints(name) if effect == "NoExecute"}
        assert executing == ({UNREACHABLE} if kubelet.dead else set()), f"{why}: {name}"
        assert NOT_READY not in executing and is_ready(made.node(name)) is not kubelet.dead, f"{why}: {name}"
    evicted = {(partition, name) for _, partition, name in made.evicted}
    for partition in made.tenants:
        for pod in made.pods(partition):
            ending = pod.metadata.HasField("deletion_timestamp")
            assert ending == ((partition, pod.metadata.name) in evicted), f"{why}: {partition} {pod.metadata.name}"
            if made.kubelets[pod.spec.node_name].dead:
                assert ending, f"{why}: {partition} {pod.metadata.name} stays on {pod.spec.node_name}"
