"""Preemption between real processes: kubelets that end pods, budgets, schedulers that are killed in the middle."""

from __future__ import annotations

import asyncio
import pathlib
from collections import Counter

import pytest
from google.protobuf.struct_pb2 import Value

from services.api import kinds
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget
from services.client.informer import Change, Informer
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import eventually
from tests.support.scheduler_processes import RESOURCE_PARTITION, Schedulers, schedulers
from tests.support.scheduling import make_node

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 28440
TENANT = "tenant-tp-1"


class Witness:
    """Remembers of each pod that was deleted its last state."""

    def __init__(self, made: Schedulers) -> None:
        self.gone: dict[str, Pod] = {}
        self.informer: Informer[Pod] = Informer(
            made.connections["tp-1"].mux, kinds.PODS, tenant="*", on_batch=self._changed
        )

    async def start(self) -> None:
        self.informer.start()
        await self.informer.synced.wait()

    def _changed(self, changes: list[Change[Pod]]) -> None:
        for change in changes:
            if change.new is None and change.old is not None:
                self.gone[change.old.metadata.name] = change.old


def why(pod: Pod) -> list[tuple[str, str, str]]:
    return [(c.status, c.reason, c.message) for c in pod.status.conditions if c.type == "DisruptionTarget"]


BECAUSE = [("True", "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod")]


async def bound(made: Schedulers, prefix: str) -> list[Pod]:
    return [pod for pod in await made.pods() if pod.spec.node_name and pod.metadata.name.startswith(prefix)]


async def until_bound(made: Schedulers, prefix: str, count: int) -> None:
    async def enough() -> bool:
        return len(await bound(made, prefix)) == count

    await eventually(enough, seconds=40, what=f"{count} pods {prefix}… bound")


async def budget(made: Schedulers, min_available: int) -> None:
    """For pods with app=precious; returns when the controller has counted them."""
    wanted = PodDisruptionBudget()
    wanted.metadata.name, wanted.metadata.tenant, wanted.metadata.namespace = "precious", TENANT, "default"
    wanted.spec.selector.match_labels["app"] = "precious"
    wanted.spec.min_available.CopyFrom(Value(number_value=min_available))
    budgets = made.connections["tp-1"].clientset.pod_disruption_budgets
    await budgets.create(wanted)

    async def counted() -> bool:
        found = await budgets.get("precious", tenant=TENANT, namespace="default")
        return found.status.current_healthy == min_available and found.status.disruptions_allowed == 0

    await eventually(counted, what="a budget that allows nothing")


async def test_on_full_hollow_nodes_the_less_important_go_gracefully_and_budgets_are_kept(
    tmp_path: pathlib.Path,
) -> None:
    async with schedulers(tmp_path, BASE_PORT, 1) as made:
        await made.add_priority_class("tp-1", "high", 1000)
        await made.start_kubelets(4, "4")
        await made.start_scheduler("tp-1", backoff_initial_s=0.2)
        await made.add_pods("tp-1", [f"precious-{n}" for n in range(2)], cpu="1", labels={"app": "precious"})
        # On two nodes: the first ones are spread.
        await made.until_bound(2)
        await made.add_pods("tp-1", [f"low-{n}" for n in range(14)], cpu="1")

        async def running() -> bool:
            return Counter(pod.status.phase for pod in await made.pods()) == {"Running": 16}

        await eventually(running, seconds=60, what="16 pods running")
        await budget(made, 2)
        witness = Witness(made)
        await witness.start()
        await made.add_pods("tp-1", ["high-0", "high-1"], cpu="4", priority_class_name="high")
        await until_bound(made, "high", 2)

        async def running_again() -> bool:
            return Counter(pod.status.phase for pod in await made.pods()) == {"Running": 10}

        await eventually(running_again, what="10 pods running")
        assert {pod.metadata.name for pod in await bound(made, "precious")} == {"precious-0", "precious-1"}
        assert len(witness.gone) == 8 and all(name.startswith("low-") for name in witness.gone)
        assert all(why(pod) == BECAUSE for pod in witness.gone.values())
        assert all(pod.metadata.HasField("deletion_timestamp") for pod in witness.gone.values()), "gracefully"
        await made.assert_sound(await made.pods(), per_node=4)


async def test_killed_between_promise_and_eviction_nothing_is_lost_and_nobody_evicted_twice(
    tmp_path: pathlib.Path,
) -> None:
    nodes, rounds, each = 24, 3, 8
    async with schedulers(tmp_path, BASE_PORT + 40, 1) as made:
        await made.add_priority_class("tp-1", "high", 1000)
        await made.add_nodes(nodes, cpu="1")
        await made.start_controllers()
        await made.start_scheduler("tp-1", backoff_initial_s=0.2)
        await made.add_pods("tp-1", [f"low-{n}" for n in range(nodes)], cpu="1", grace_s=0)
        await made.until_bound(nodes)
        witness = Witness(made)
        await witness.start()
        scheduler = made.processes["scheduler-tp-1"]
        ledgers = made.connections[RESOURCE_PARTITION]
        for number in range(rounds):
            promised = asyncio.Event()
            seen = Informer(
                ledgers.mux,
                kinds.CAPACITY_CLAIMS,
                on_batch=lambda changes, told=promised: (  # type: ignore[misc]
                    told.set() if any(c.new is not None and c.new.spec.replaces for c in changes) else None
                ),
            ).start()
            await seen.synced.wait()
            promised.clear()
            names = [f"high-{number}-{n}" for n in range(each)]
            await made.add_pods("tp-1", names, cpu="1", priority_class_name="high", grace_s=0)
            async with asyncio.timeout(30):
                await promised.wait()
            await scheduler.kill()
            seen.close()
            await scheduler.start()
            await until_bound(made, "high", each * (number + 1))
        pods = await made.pods()
        assert len(pods) == nodes, "as many went as came"
        assert len(witness.gone) == rounds * each and all(name.startswith("low-") for name in witness.gone)
        await made.assert_sound(pods, per_node=1)


async def test_a_promised_pod_goes_where_room_comes_free_while_its_victims_take_their_time(
    tmp_path: pathlib.Path,
) -> None:
    async with schedulers(tmp_path, BASE_PORT + 70, 1) as made:
        await made.add_priority_class("tp-1", "high", 1000)
        await made.add_nodes(1, cpu="2")
        await made.start_scheduler("tp-1", backoff_initial_s=0.2)
        # There is no kubelet: pods with a grace period stay as they end.
        await made.add_pods("tp-1", ["low-0", "low-1"], cpu="1")
        await made.until_bound(2)
        await made.add_pods("tp-1", ["high"], cpu="2", priority_class_name="high")
        connection = made.connections["tp-1"]

        async def both_end() -> bool:
            return all(
                pod.metadata.HasField("deletion_timestamp") and why(pod) == BECAUSE
                for pod in await made.pods()
                if pod.metadata.name != "high"
            )

        await eventually(both_end, what="victims that end and say why")
        high = await connection.clientset.pods.get("high", tenant=TENANT, namespace="default")
        assert (await made.claims())[high.metadata.uid] == (RESOURCE_PARTITION, "node-000")
        wide = make_node("node-wide", cpu="2")
        nodes = made.connections[RESOURCE_PARTITION].clientset.nodes
        await nodes.create(Node(metadata=ObjectMeta(name="node-wide")))
        wide.metadata.ClearField("uid")
        await nodes.update_status(wide)
        pods = await made.until_bound(3)
        assert {pod.metadata.name: pod.spec.node_name for pod in pods}["high"] == "node-wide"
        await made.assert_sound(pods, per_node=2)
        ledgers = (await made.connections[RESOURCE_PARTITION].clientset.capacity_ledgers.list()).items
        assert not any(ledger.promises for ledger in ledgers)
