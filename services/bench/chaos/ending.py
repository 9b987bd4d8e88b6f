"""The end of a run: everything comes to rest, and is read consistently."""

from __future__ import annotations

from collections.abc import Mapping

from services.api.kinds import CAPACITY_CLAIMS, CAPACITY_LEDGERS, NODES, PODS, REPLICA_SETS
from services.base.clock import Clock
from services.base.timeline import Stage, read
from services.bench.chaos import reading, workloads
from services.bench.chaos.facts import AnyFact, FinalRead, FinalWorkload, Ran
from services.bench.chaos.history import History
from services.bench.chaos.validators.claims_right import claims_right
from services.bench.cluster import BenchCluster
from services.client.clientset import Clientset
from services.client.partitions import Connection
from services.rpc.status import StatusError

_POLL_S = 0.5
_RUN_JOURNAL = frozenset((Stage.RUN, Stage.END))


async def final_facts(
    tenant: Mapping[str, Connection], resource: Mapping[str, Connection], clock: Clock, within_s: float
) -> list[AnyFact]:
    """Consistent reads of every partition. Claims follow their pods after a while: the reads are repeated until they
    agree, for ``within_s`` at most; the last are the judged ones. Raises ``StatusError``."""
    deadline = clock.monotonic() + within_s
    while True:
        found: list[AnyFact] = []
        for partition, connection in tenant.items():
            found += await _tenant_partition(partition, connection.clientset, clock)
        for partition, connection in resource.items():
            found += await _resource_partition(partition, connection.clientset, clock)
        if not any(claims_right(History(found))) or clock.monotonic() > deadline:
            return found
        await clock.sleep(_POLL_S)


async def _tenant_partition(partition: str, client: Clientset, clock: Clock) -> list[AnyFact]:
    pods = await client.pods.list(tenant="*")
    found: list[AnyFact] = [FinalRead(clock.monotonic(), partition, PODS.resource, pods.resource_version)]
    found += [reading.final_pod(partition, pod) for pod in pods.items]
    try:
        sets = await client.resource(REPLICA_SETS).list(tenant="*")
    except StatusError as failure:
        if failure.reason in ("NotFound", "Unimplemented"):
            return found
        raise
    found.append(FinalRead(clock.monotonic(), partition, REPLICA_SETS.resource, sets.resource_version))
    return found + [
        FinalWorkload(partition, one.metadata.name, one.metadata.uid, one.spec.replicas) for one in sets.items
    ]


async def _resource_partition(partition: str, client: Clientset, clock: Clock) -> list[AnyFact]:
    nodes = await client.nodes.list()
    ledgers = await client.resource(CAPACITY_LEDGERS).list()
    claims = await client.capacity_claims.list()
    now = clock.monotonic()
    by_name = {ledger.metadata.name: ledger for ledger in ledgers.items}
    return [
        FinalRead(now, partition, NODES.resource, nodes.resource_version),
        FinalRead(now, partition, CAPACITY_CLAIMS.resource, claims.resource_version),
        *(reading.final_node(partition, node, by_name.get(node.metadata.name)) for node in nodes.items),
        *(reading.final_claim(partition, claim) for claim in claims.items),
    ]


async def make_markers(tenant: Mapping[str, Connection], resource: Mapping[str, Connection]) -> None:
    """Something happens in every watched collection after its last read, so that every watch has to tell of it: then it
    has told of all that was before. Raises ``StatusError``."""
    for partition, connection in tenant.items():
        await connection.clientset.pods.create(workloads.marker(f"chaos-{partition}", "marker"))
    for connection in resource.values():
        node = (await connection.clientset.nodes.list(limit=1)).items[0]
        await connection.clientset.nodes.patch(
            node.metadata.name, '{"metadata": {"annotations": {"ursa.io/chaos-marker": "end"}}}'
        )


def run_journal(cluster: BenchCluster) -> list[AnyFact]:
    """What the kubelets ran, from their timelines."""
    return [
        Ran(mark.monotonic_ns / 1e9, str(mark.stage), mark.uid, mark.node)
        for file in cluster.timelines()
        for mark in read(file)
        if mark.stage in _RUN_JOURNAL
    ]
