"""The worlds that are searched: each as small as shows what it is about."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.claims.model import World

# Two tenant partitions want the same two nodes; a pod may be claimed for on either, revoked, and claimed for again.
RACE = World(pods=(1, 1), nodes=(1, 1), tenant_partition=(0, 1), epochs=2)
# The nodes are of two resource partitions, which know nothing of each other's claims.
TWO_PARTITIONS = replace(RACE, resource_partition=(0, 1))
# A preemptor of two small victims, and a thief of another tenant partition.
PREEMPTION = World(
    pods=(1, 1, 2, 1), nodes=(2,), tenant_partition=(0, 0, 0, 1), preemptors=(2,), epochs=1, may_end=False
)
# The victim is larger than its preemptor.
SMALLER_THAN_ITS_VICTIM = World(
    pods=(2, 1, 1), nodes=(2,), tenant_partition=(0, 0, 1), preemptors=(1,), epochs=1, may_end=False
)
# Two preemptors may want the same victim, or each other.
TWO_PREEMPTORS = World(pods=(2, 2, 2), nodes=(2,), preemptors=(1, 2), epochs=1, may_end=False)
# The node shrinks, is deleted and comes back.
NODES = World(pods=(1, 2, 1), nodes=(2,), preemptors=(1,), node_changes=2, epochs=1, may_end=False)
# A pod is bound by hand while schedulers claim for it; the kubelet claims before it admits.
BY_HAND = World(pods=(1, 1), nodes=(1, 1), tenant_partition=(0, 1), epochs=1, by_hand=(0,))
# Two servers of the resource partition decide on what they read earlier.
TWO_SERVERS = World(pods=(1, 1), nodes=(1, 1), tenant_partition=(0, 1), epochs=1, servers=2, may_end=False)
# The same, about a preemptor's victim: a ledger of equal sums is not the ledger that was read.
SERVERS_AND_VICTIM = World(pods=(1, 1, 1), nodes=(1,), preemptors=(1,), epochs=0, servers=2, may_end=False)

WORLDS = {
    "race": RACE,
    "two partitions": TWO_PARTITIONS,
    "preemption": PREEMPTION,
    "smaller than its victim": SMALLER_THAN_ITS_VICTIM,
    "two preemptors": TWO_PREEMPTORS,
    "nodes": NODES,
    "by hand": BY_HAND,
    "two servers": TWO_SERVERS,
    "servers and a victim": SERVERS_AND_VICTIM,
}

LARGE_WORLDS = {
    "three pods race": World(pods=(1, 1, 1), nodes=(1, 2), tenant_partition=(0, 1, 1), epochs=1),
    "preemption with ends": replace(PREEMPTION, may_end=True),
    "three epochs": replace(TWO_PARTITIONS, epochs=4),
    "nodes with ends": replace(NODES, may_end=True, node_changes=3),
    "servers and preemption": replace(SERVERS_AND_VICTIM, epochs=1),
    "servers and nodes": replace(TWO_SERVERS, node_changes=2),
    "all by hand": replace(BY_HAND, by_hand=(0, 1), epochs=2),
}
