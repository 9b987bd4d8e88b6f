"""A small history that is right in every respect: a node dies, its pods are evicted and replaced, it comes back.

Times are seconds; the fault lasts from 100 to 130. ``rp-1/n1`` dies with pods ``a1`` (kept by a ReplicaSet) and ``b1``
(kept by the player) on it; ``a2`` and ``b2`` replace them on ``rp-1/n2``; ``job`` had ended before and was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.bench.chaos.facts import (
    AnyFact,
    Begun,
    Bounds,
    Created,
    Deleted,
    Fault,
    FinalClaim,
    FinalNode,
    FinalPod,
    FinalRead,
    FinalWorkload,
    NodeSeen,
    PodSeen,
    Position,
    Ran,
    Recovered,
    WatchBegan,
    WatchEnded,
    Workload,
)
from services.bench.chaos.history import History

BOUNDS = Bounds(
    grace_s=4, renew_s=1, monitor_s=0.5, toleration_s=2, evictions_per_s=1, comeback_s=10, slack_s=3
)  # evicted within 4 + 1 + 1 + 1 + 2 + 3 = 12 s
DEATH = 100.0
BACK = 130.0
ONE_CPU = {"cpu": 1000}

WATCHES = {"tp-1/pods/a": ("tp-1", "pods"), "tp-2/pods/a": ("tp-2", "pods"), "rp-1/nodes/a": ("rp-1", "nodes")}


def seen(at: float, partition: str, event: str, version: int, uid: str, **fields: Any) -> PodSeen:
    return PodSeen(at, f"{partition}/pods/a", partition, event, version, f"/t/default/{uid}", uid, **fields)


def started(at: float, partition: str, version: int, uid: str, node: str, workload: str = "") -> list[AnyFact]:
    """A pod's way to Running, three revisions."""
    return [
        seen(at, partition, "added", version, uid, workload=workload, phase="Pending"),
        seen(at + 0.1, partition, "modified", version + 1, uid, workload=workload, phase="Pending", node=node),
        Ran(at + 0.2, "run", uid, node),
        seen(
            at + 0.3, partition, "modified", version + 2, uid, workload=workload, phase="Running", node=node, ready=True
        ),
    ]


def node_seen(at: float, version: int, node: str, ready: str = "True", *taints: str) -> NodeSeen:
    return NodeSeen(at, "rp-1/nodes/a", "modified", version, node, f"uid-{node}", ready, taints)


def good() -> list[AnyFact]:
    n1, n2 = "rp-1/n1", "rp-1/n2"
    made = [WatchBegan(0.1, watch, *place) for watch, place in WATCHES.items()]
    ended = [WatchEnded(50.0, "tp-1/pods/a", 30, "cut"), WatchBegan(50.5, "tp-1/pods/a", "tp-1", "pods", 30)]
    return [
        Begun(0.0, 7, BOUNDS),
        *made,
        *(Position(0.2, watch, 1, initial_end=True) for watch in WATCHES),
        node_seen(1.0, 2, n1),
        node_seen(1.0, 3, n2),
        Workload(1.0, "tp-1", "a", 1, "replicaset"),
        Workload(1.0, "tp-2", "b", 1, "player"),
        Created(1.0, 1.1, "tp-1", "replicasets", "a", "uid-a"),
        Created(2.0, 2.1, "tp-2", "pods", "b1", "b1", "b"),
        *started(2.0, "tp-1", 10, "a1", n1, "a"),
        *started(2.0, "tp-2", 10, "b1", n1, "b"),
        Created(3.0, 3.1, "tp-1", "pods", "job", "job"),
        *started(3.0, "tp-1", 13, "job", n2),
        Ran(20.0, "end", "job", n2),
        seen(20.1, "tp-1", "modified", 20, "job", phase="Succeeded", node=n2),
        Deleted(21.0, 21.1, "tp-1", "job", "job"),
        seen(21.2, "tp-1", "deleted", 21, "job", phase="Succeeded", node=n2, ending=True),
        Position(30.0, "tp-1/pods/a", 30),
        *ended,
        # The node is silent from 100 on: unreachable at 105, its pods evicted at 107.
        node_seen(105.0, 40, n1, "Unknown", "node.kubernetes.io/unreachable"),
        seen(107.0, "tp-1", "modified", 40, "a1", workload="a", phase="Running", node=n1, ending=True),
        seen(107.0, "tp-2", "modified", 40, "b1", workload="b", phase="Running", node=n1, ending=True),
        *started(107.5, "tp-1", 41, "a2", n2, "a"),
        Created(107.4, 107.6, "tp-2", "pods", "b2", "b2", "b"),
        *started(107.5, "tp-2", 41, "b2", n2, "b"),
        seen(131.0, "tp-1", "deleted", 50, "a1", workload="a", phase="Running", node=n1, ending=True),
        seen(131.0, "tp-2", "deleted", 50, "b1", workload="b", phase="Running", node=n1, ending=True),
        node_seen(131.0, 41, n1),
        Fault("node-death", n1, DEATH, BACK, silent=(n1,), dead=(n1,)),
        Recovered(133.0, f"node-death of {n1}", BACK),
        *(FinalRead(140.0, partition, resource, 60) for partition in ("tp-1", "tp-2") for resource in ("pods",)),
        FinalRead(140.0, "tp-1", "replicasets", 60),
        FinalRead(140.0, "rp-1", "nodes", 60),
        FinalRead(140.0, "rp-1", "capacityclaims", 60),
        FinalWorkload("tp-1", "a", "uid-a", 1),
        FinalPod("tp-1", "/t/default/a2", "a2", 43, n2, "Running", "a", ready=True, requests=ONE_CPU),
        FinalPod("tp-2", "/t/default/b2", "b2", 43, n2, "Running", "b", ready=True, requests=ONE_CPU),
        FinalNode(n1, f"uid-{n1}", 41, "True"),
        FinalNode(n2, f"uid-{n2}", 3, "True", {"tp-1": ONE_CPU, "tp-2": ONE_CPU}, {"tp-1": 1, "tp-2": 1}),
        FinalClaim(n2, "a2", "tp-1", ONE_CPU),
        FinalClaim(n2, "b2", "tp-2", ONE_CPU),
        *(Position(141.0, watch, 60) for watch in WATCHES),
    ]


Mutation = Callable[[list[AnyFact]], Sequence[AnyFact]]


def without(condition: Callable[[Any], bool]) -> Mutation:
    """What fits the condition never happened. There must be such."""

    def mutate(history: list[AnyFact]) -> list[AnyFact]:
        kept = [fact for fact in history if not condition(fact)]
        assert len(kept) < len(history)
        return kept

    return mutate


def changed(condition: Callable[[Any], bool], **fields: Any) -> Mutation:
    """What fits the condition was otherwise. There must be such."""

    def mutate(history: list[AnyFact]) -> list[AnyFact]:
        found = [
            msgspec.structs.replace(fact, **fields) if condition(fact) else fact  # type: ignore[type-var]
            for fact in history
        ]
        assert found != history
        return found

    return mutate


def added(*extra: AnyFact, after: Callable[[Any], bool] | None = None) -> Mutation:
    """Something more happened, right after the first fact that fits (or in the end)."""

    def mutate(history: list[AnyFact]) -> list[AnyFact]:
        if after is None:
            return [*history, *extra]
        at = next(position for position, fact in enumerate(history) if after(fact))
        return [*history[: at + 1], *extra, *history[at + 1 :]]

    return mutate


def all_of(*mutations: Mutation) -> Mutation:
    def mutate(history: list[AnyFact]) -> list[AnyFact]:
        for one in mutations:
            history = list(one(history))
        return history

    return mutate


def mutant(mutation: Mutation) -> History:
    return History(mutation(good()))
