"""What is known of a run, as records in a JSONL file: written while it runs, read by the validators.

All times (``at``, ``began``, ``ended``) are seconds of CLOCK_MONOTONIC, which is one clock for all processes of a
machine. A node is named ``<resource partition>/<name>``. Quantities are int64 in canonical units (cpu in thousandths,
the rest whole), without "pods".
"""

from __future__ import annotations

import msgspec


class Fact(msgspec.Struct, frozen=True, tag_field="fact", omit_defaults=True):
    """One line of a history."""


class Begun(Fact, frozen=True, tag="begun"):
    """The run and the times that it was started with, in seconds, which the validators' bounds are made of."""

    at: float
    seed: int
    bounds: Bounds


class Bounds(msgspec.Struct, frozen=True):
    """``grace_s``: how long a node may be silent; ``renew_s``: between two renewals of its lease; ``monitor_s``:
    between two looks of the controller; ``toleration_s``: how long pods bear an unreachable node;
    ``evictions_per_s``: nodes a second and zone; ``comeback_s``: from the end of a fault until workloads are whole;
    ``slack_s``: what a loaded machine may be late with anything."""

    grace_s: float
    renew_s: float
    monitor_s: float
    toleration_s: float
    evictions_per_s: float
    comeback_s: float
    slack_s: float

    def eviction_s(self, nodes: int) -> float:
        """From the moment that ``nodes`` of one zone fall silent until the pods of all of them are evicted."""
        queued_s = nodes / self.evictions_per_s
        return self.grace_s + self.renew_s + 2 * self.monitor_s + queued_s + self.toleration_s + self.slack_s


class Workload(Fact, frozen=True, tag="workload"):
    """From ``at`` on ``replicas`` pods with label ``workload=<name>`` are wanted; ``keeper``: who makes them,
    "replicaset" (the cluster's controller) or "player" (the bench makes again what is gone)."""

    at: float
    partition: str
    name: str
    replicas: int
    keeper: str


class Created(Fact, frozen=True, tag="created"):
    """A create that was acknowledged at ``at``. ``resource``: "pods" or "replicasets"."""

    began: float
    at: float
    partition: str
    resource: str
    name: str
    uid: str
    workload: str = ""


class Attempted(Fact, frozen=True, tag="attempted"):
    """A create or delete that nobody answered reliably: it may have happened, may yet happen, or not."""

    began: float
    at: float
    partition: str
    verb: str
    name: str
    uid: str = ""
    error: str = ""


class Deleted(Fact, frozen=True, tag="deleted"):
    """The bench asked to delete this pod, from ``began`` on, and was told yes at ``at``."""

    began: float
    at: float
    partition: str
    name: str
    uid: str


class WatchBegan(Fact, frozen=True, tag="watch_began"):
    """``resource_version`` None: with the state first (what was known before is replaced by it)."""

    at: float
    watch: str
    partition: str
    resource: str
    resource_version: int | None = None


class WatchEnded(Fact, frozen=True, tag="watch_ended"):
    """``resource_version``: the position after all that it has told, from which its owner will resume."""

    at: float
    watch: str
    resource_version: int | None
    error: str


class Position(Fact, frozen=True, tag="position"):
    """The watch has told everything up to here. ``initial_end``: and with that the whole initial state."""

    at: float
    watch: str
    resource_version: int
    initial_end: bool = False


class PodSeen(Fact, frozen=True, tag="pod"):
    """An event of a watch on pods. ``event``: added, modified or deleted. ``ending``: it has a deletion timestamp.

    ``disruption``: the reason of its condition DisruptionTarget, if that is True."""

    at: float
    watch: str
    partition: str
    event: str
    resource_version: int
    key: str
    uid: str
    node: str = ""
    phase: str = ""
    workload: str = ""
    ready: bool = False
    ending: bool = False
    disruption: str = ""


class NodeSeen(Fact, frozen=True, tag="node"):
    """An event of a watch on nodes. ``ready``: the status of its condition. ``no_execute``: keys of such taints."""

    at: float
    watch: str
    event: str
    resource_version: int
    node: str
    uid: str
    ready: str = ""
    no_execute: tuple[str, ...] = ()
    boot_id: str = ""


class Ran(Fact, frozen=True, tag="ran"):
    """From the run journal of a kubelet: containers of the pod begin ("run") or end ("end") on the node."""

    at: float
    stage: str
    uid: str
    node: str


class Fault(Fact, frozen=True, tag="fault"):
    """What was done, to whom, and how long it lasted (``ended``: when everything about it was undone).

    ``silent``: nodes that could reach no partition meanwhile; ``dead``: those of them whose containers ended at
    ``began``; ``restarted``: nodes whose kubelet began anew, with its containers still there. ``partitions``: those
    that answered nobody, or not everybody; ``unmanaged``: those whose controllers were away.
    """

    name: str
    target: str
    began: float
    ended: float
    silent: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    unmanaged: tuple[str, ...] = ()
    detail: str = ""


class Recovered(Fact, frozen=True, tag="recovered"):
    """The check after a fault was over at ``at``: everything well, or its time was up (``late`` says what was not)."""

    at: float
    fault: str
    began: float
    late: tuple[str, ...] = ()


class FinalRead(Fact, frozen=True, tag="final_read"):
    """A consistent read of everything of one resource of a partition, when nothing moved any more."""

    at: float
    partition: str
    resource: str
    resource_version: int


class FinalPod(Fact, frozen=True, tag="final_pod"):
    """A pod of the last consistent read. ``requests``: what its claim should hold."""

    partition: str
    key: str
    uid: str
    resource_version: int
    node: str = ""
    phase: str = ""
    workload: str = ""
    ready: bool = False
    ending: bool = False
    requests: dict[str, int] = {}


class FinalNode(Fact, frozen=True, tag="final_node"):
    """A node, its claims' total as its ledger says (by tenant partition), and how many claims that counts."""

    node: str
    uid: str
    resource_version: int
    ready: str
    claimed: dict[str, dict[str, int]] = {}
    pods: dict[str, int] = {}
    promises: int = 0


class FinalClaim(Fact, frozen=True, tag="final_claim"):
    """A single claim. ``partition``: the tenant partition whose pod it is."""

    node: str
    uid: str
    partition: str
    requests: dict[str, int] = {}


class FinalWorkload(Fact, frozen=True, tag="final_workload"):
    """A ReplicaSet of the last consistent read."""

    partition: str
    name: str
    uid: str
    replicas: int


AnyFact = (
    Begun
    | Workload
    | Created
    | Attempted
    | Deleted
    | WatchBegan
    | WatchEnded
    | Position
    | PodSeen
    | NodeSeen
    | Ran
    | Fault
    | Recovered
    | FinalRead
    | FinalPod
    | FinalNode
    | FinalClaim
    | FinalWorkload
)
