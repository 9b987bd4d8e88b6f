"""The kubelet host as a process, between real partition servers over real etcds."""

from __future__ import annotations

import asyncio
import pathlib
import urllib.request

import pytest

from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.client.partitions import Connection
from tests.support.client_world import pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import Cluster, cluster, connection, eventually
from tests.support.tenants import make_tenant

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 17500
NODES = 10


async def bind(tp: Connection, names: list[str], *, claimed: bool = False) -> list[str]:
    """Create pods and bind them over the nodes in turn; returns their UIDs. ``claimed``: as a scheduler that has
    claimed for them, else by hand."""
    created = await tp.clientset.pods.batch_create([pod(name) for name in names])
    assert [outcome.status for outcome in created] == [None] * len(names)
    bindings = [
        pod_pb2.Binding(
            metadata=meta_pb2.ObjectMeta(name=outcome.name, tenant="acme", namespace="default", uid=outcome.uid),
            target=pod_pb2.ObjectReference(kind="Node", name=f"hollow-rp-1-{number % NODES:04d}"),
            resource_partition="rp-1",
            capacity_claimed=claimed,
        )
        for number, outcome in enumerate(created)
    ]
    bound = await tp.clientset.pods.batch_bind(bindings)
    assert [outcome.status for outcome in bound] == [None] * len(names)
    return [outcome.uid for outcome in created]


async def phases(tp: Connection) -> dict[str, str]:
    listing = await tp.clientset.pods.list(tenant="acme", namespace="default")
    return {item.metadata.name: item.status.phase for item in listing.items}


async def all_running(tp: Connection, names: list[str]) -> bool:
    found = await phases(tp)
    return all(found.get(name) == "Running" for name in names)


async def ready_nodes(rp: Connection) -> int:
    listing = await rp.clientset.nodes.list()
    return sum(any(c.type == "Ready" and c.status == "True" for c in n.status.conditions) for n in listing.items)


async def wait_for_nodes(rp: Connection) -> None:
    async def registered() -> bool:
        return await ready_nodes(rp) == NODES

    await eventually(registered)


def started(made: Cluster) -> list[str]:
    return [line["uid"] for line in made.processes["hollow"].lines("pod started")]


async def test_a_life_with_restarts_and_deletions(tmp_path: pathlib.Path) -> None:
    async with (
        cluster(tmp_path, BASE_PORT, nodes=NODES) as made,
        connection("tp-1", made.endpoint("tp-1")) as tp,
        connection("rp-1", made.endpoint("rp-1")) as rp,
    ):
        await wait_for_nodes(rp)
        await make_tenant(tp.clientset, "acme")

        # A node is Ready by its status; its lease is made by the keeper of leases, beside it and not before it.
        async def all_have_leases() -> bool:
            leases = await rp.clientset.leases.list(tenant="system", namespace="kube-node-lease")
            return len(leases.items) == NODES

        await eventually(all_have_leases)

        # Pods run.
        first = [f"a{n}" for n in range(50)]
        uids = await bind(tp, first)
        await eventually(lambda: all_running(tp, first), seconds=30)
        assert sorted(started(made)) == sorted(uids)
        running = await tp.clientset.pods.get("a0", tenant="acme", namespace="default")
        assert {c.type: c.status for c in running.status.conditions} == {
            "PodScheduled": "True",
            "Initialized": "True",
            "ContainersReady": "True",
            "Ready": "True",
        }
        assert running.status.pod_ip
        assert running.status.start_time.seconds

        # The tenant partition's server is killed and comes back; what was bound meanwhile or just before runs once.
        server = made.processes["tp-1"]
        second = [f"b{n}" for n in range(20)]
        uids += await bind(tp, second)
        await server.kill()
        await server.start()
        await eventually(lambda: all_running(tp, first + second), seconds=20)

        # The host is killed; a pod is deleted meanwhile and confirmed by its successor, the others are adopted.
        hollow = made.processes["hollow"]
        await hollow.kill()
        await tp.clientset.pods.delete("a1", tenant="acme", namespace="default")
        await tp.clientset.pods.get("a1", tenant="acme", namespace="default")
        await hollow.start()

        async def confirmed() -> bool:
            return "a1" not in await phases(tp)

        await eventually(confirmed, seconds=20)
        third = [f"c{n}" for n in range(10)]
        uids += await bind(tp, third)
        await eventually(lambda: all_running(tp, third), seconds=30)
        assert sorted(started(made)) == sorted(uids), "every pod once, none twice"

        # The resource partition's server is killed: new pods wait for it, whatever their binding says of a claim, and
        # leases are renewed when it is back.
        await made.processes["rp-1"].kill()
        last = [f"d{n}" for n in range(5)]
        by_hand = [f"e{n}" for n in range(5)]
        uids += await bind(tp, by_hand)
        uids += await bind(tp, last, claimed=True)

        async def claims_waited() -> bool:
            """The host has asked in vain."""
            told = await asyncio.to_thread(read, f"http://127.0.0.1:{BASE_PORT + 20}/metrics")
            return 'outcome="unanswered"' in told

        await eventually(claims_waited, seconds=30)
        found = await phases(tp)
        assert {found[name] for name in by_hand + last} == {"Pending"}
        await made.processes["rp-1"].start()
        lease = await eventually_lease(rp)

        async def renewed() -> bool:
            now = await rp.clientset.leases.get("hollow-rp-1-0000", tenant="system", namespace="kube-node-lease")
            return now.spec.renew_time.seconds > lease

        await eventually(renewed, seconds=25)
        await eventually(lambda: all_running(tp, by_hand + last), seconds=20)
        held = {claim.metadata.name for claim in (await rp.clientset.capacity_claims.list()).items}
        assert set(uids) <= held, "each pod has its claim, whatever its binding said"

        # Deleted pods end.
        for name in first[2:12]:
            await tp.clientset.pods.delete(name, tenant="acme", namespace="default")

        async def ended() -> bool:
            return not set(first[2:12]) & set(await phases(tp))

        await eventually(ended, seconds=30)
        metrics = await asyncio.to_thread(read, f"http://127.0.0.1:{BASE_PORT + 20}/metrics")
        assert f"kubelet_running_pods {float(50 + 20 + 10 + 5 + 5 - 1 - 10)}" in metrics
        assert 'kubelet_nodes{partition="rp-1"} 10.0' in metrics


async def eventually_lease(rp: Connection) -> int:
    found: list[int] = []

    async def there() -> bool:
        lease = await rp.clientset.leases.get("hollow-rp-1-0000", tenant="system", namespace="kube-node-lease")
        found.append(lease.spec.renew_time.seconds)
        return True

    await eventually(there)
    return found[-1]


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())
