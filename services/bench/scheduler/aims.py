"""What a workload must reach and what it aims at, on two cores: pods/s, and figures where less is better."""

from __future__ import annotations

from services.bench.targets import Target

UNARY: dict[str, Target] = {
    "SchedulingBasic/5000Nodes_10000Pods": Target(1_000, 1_500),
    "TopologySpreading/5000Nodes_5000Pods": Target(700, 1_500),
    "SchedulingPodAntiAffinity/5000Nodes_2000Pods": Target(600, 1_500),
    "SchedulingDaemonset/15000Nodes": Target(1_000, 1_500),
    "PreemptionBasic/500Nodes": Target(200, 600),
    "PreemptionAsync/5000Nodes": Target(600, 1_200),
    "Unschedulable/5kNodes/10kPods": Target(700, 1_200),
}
BATCHED: dict[str, Target] = {
    "SchedulingBasic/5000Nodes_10000Pods": Target(4_000, 8_000),
    "SchedulingBasicPartitioned/50000Nodes_20000Pods": Target(2_500, 5_000),
}
# Every other workload is held against upstream's threshold.
OF_THRESHOLD = Target(3.0, 10.0)
# Of every workload; races for the last places are what it is about.
OVERCOMMITTED_NODES = Target(0, 0, at_most=True)
# Resident memory of a scheduler, in MB, where 50,000 nodes and 500,000 bound pods are known to it.
SCHEDULER_MEMORY: dict[str, Target] = {
    "Memory/50000Nodes_500000Pods": Target(2 * 1024**3 / 1e6, 1024**3 / 1e6, at_most=True),
}
_SAME_LOAD = "_QueueingHintsEnabled"


def aim_of(workload: str, threshold: float, *, batched: bool) -> Target | None:
    """The target of ``<workload>/<size>``; None if nothing was set for it."""
    name = workload.removesuffix(_SAME_LOAD)
    found = (BATCHED if batched else UNARY).get(name)
    if found is None and threshold:
        return Target(OF_THRESHOLD.must * threshold, OF_THRESHOLD.aim * threshold)
    return found
