"""Every validator finds what breaks its guarantee, and finds nothing in a history that is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.bench.chaos import facts
from services.bench.chaos.facts import (
    AnyFact,
    Attempted,
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
    Workload,
)
from services.bench.chaos.history import History
from services.bench.chaos.validators import VALIDATORS
from tests.unit.bench.chaos.histories import (
    ONE_CPU,
    Mutation,
    added,
    all_of,
    changed,
    good,
    mutant,
    node_seen,
    seen,
    started,
    without,
)

N1, N2 = "rp-1/n1", "rp-1/n2"
DEAD = Fault("node-death", N1, 100.0, 130.0, silent=(N1,), dead=(N1,))


def a(kind: type[facts.Fact], **fields: Any) -> Callable[[Any], bool]:
    """Is it such a fact, with such fields?"""
    return lambda fact: type(fact) is kind and all(getattr(fact, name) == value for name, value in fields.items())


def never(kind: type[facts.Fact]) -> Mutation:
    return without(a(kind))


def twice(watch: str) -> Mutation:
    """Another watch (…/b) was told the same, at the same times."""

    def mutate(history: list[AnyFact]) -> list[AnyFact]:
        other = watch.removesuffix("a") + "b"
        copies = [msgspec.structs.replace(fact, watch=other) for fact in history if getattr(fact, "watch", "") == watch]
        assert copies
        return history + copies

    return mutate


def found_by(name: str, history: History) -> str:
    return "\n".join(violation.text for violation in VALIDATORS[name](history))


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_history_that_is_right_violates_nothing(name: str) -> None:
    assert found_by(name, History(good())) == ""


RIGHT: dict[str, Mutation] = {
    "an attempt that nobody answered may have been made": added(
        Attempted(5.0, 15.0, "tp-1", "create", "maybe", error="DEADLINE_EXCEEDED")
    ),
    "a deletion that nobody answered explains one": all_of(
        without(a(Deleted, uid="job")), added(Attempted(20.5, 20.9, "tp-1", "delete", "job", "job"))
    ),
    "terminated pods may be collected": without(a(Deleted, uid="job")),
    "a pod whose kubelet began anew is adopted": added(
        Fault("kubelet-kill", "hollow", 60.0, 63.0, silent=(N1, N2), restarted=(N1, N2)),
        Ran(63.0, "run", "b1", N1),
        Recovered(70.0, "kubelet-kill of hollow", 64.0),
    ),
    "a node that is back before the grace is over keeps its pods": added(
        Fault("node-cut", N2, 60.0, 63.0, silent=(N2,)), Recovered(70.0, "node-cut of rp-1/n2", 64.0)
    ),
    "two watches of one collection are told the same": twice("tp-1/pods/a"),
    "what was out of reach is evicted later": all_of(
        changed(a(PodSeen, uid="b1", resource_version=40), at=119.0),
        added(Fault("tp-dark", "tp-2", 99.0, 118.0, partitions=("tp-2",))),
    ),
    "more pods than wanted are removed by their ReplicaSet": added(
        *started(80.0, "tp-1", 35, "a3", N2, "a"),
        seen(82.0, "tp-1", "modified", 38, "a3", workload="a", phase="Running", node=N2, ending=True),
        seen(82.1, "tp-1", "deleted", 39, "a3", workload="a", phase="Running", node=N2, ending=True),
        after=a(WatchBegan, resource_version=30),
    ),
    "a watch that begins with the state again may have missed what vanished meanwhile": all_of(
        without(a(PodSeen, uid="job", event="deleted")),
        without(a(Created, name="job")),
        changed(a(WatchBegan, resource_version=30), resource_version=None),
        added(
            seen(50.6, "tp-1", "added", 12, "a1", workload="a", phase="Running", node=N1, ready=True),
            Position(50.7, "tp-1/pods/a", 33, initial_end=True),
            after=a(WatchBegan, at=50.5),
        ),
    ),
}


@pytest.mark.parametrize("name", VALIDATORS)
@pytest.mark.parametrize("case", RIGHT)
def test_what_may_happen_violates_nothing(name: str, case: str) -> None:
    assert found_by(name, mutant(RIGHT[case])) == ""


WRONG: list[tuple[str, Mutation, str]] = [
    # NothingLost
    ("NothingLost", never(Created), "nothing to judge"),
    ("NothingLost", without(a(FinalRead, partition="tp-2")), "pods of tp-2 were never read"),
    ("NothingLost", without(a(FinalPod, uid="b2")), "no watch told that it was deleted"),
    ("NothingLost", never(FinalWorkload), "replicasets a of tp-1"),
    (
        "NothingLost",
        all_of(without(a(FinalPod, uid="b2")), added(seen(120.0, "tp-2", "deleted", 55, "b2", node=N2))),
        "deleted for no recorded reason",
    ),
    ("NothingLost", changed(a(Fault), silent=(), dead=()), "b1 of tp-2 was acknowledged, and deleted for no"),
    # RunsOnce
    ("RunsOnce", never(Ran), "nothing to judge"),
    ("RunsOnce", added(Ran(12.0, "run", "a1", N2)), "ran on rp-1/n1 and on rp-1/n2"),
    ("RunsOnce", added(Ran(12.0, "end", "a1", N1), Ran(13.0, "run", "a1", N2)), "ran on rp-1/n1 and on rp-1/n2"),
    ("RunsOnce", added(Ran(12.0, "run", "a1", N1)), "a second time"),
    ("RunsOnce", added(Ran(115.0, "run", "a1", N1)), "while that was dead"),
    (
        "RunsOnce",
        all_of(
            added(Fault("kubelet-kill", "hollow", 60.0, 63.0, silent=(N1,), restarted=(N1,))),
            added(Ran(63.0, "run", "a1", N1), Ran(66.0, "run", "a1", N1)),
        ),
        "a second time",
    ),
    ("RunsOnce", without(a(Ran, node=N1)), "no run journal tells of rp-1/n1, where pods ran"),
    # NoWrongEviction
    ("NoWrongEviction", never(NodeSeen), "nothing to judge"),
    (
        "NoWrongEviction",
        changed(a(Fault), silent=(), dead=()),
        "rp-1/n1 was tainted node.kubernetes.io/unreachable, and had not been silent",
    ),
    ("NoWrongEviction", changed(a(Fault), silent=(N2,)), "a1 on rp-1/n1 was deleted for no recorded reason"),
    ("NoWrongEviction", changed(a(NodeSeen, ready="Unknown"), at=101.0), "rp-1/n1 was tainted"),
    ("NoWrongEviction", changed(a(PodSeen, uid="a1", resource_version=40), at=103.0), "a1 on rp-1/n1 was deleted"),
    ("NoWrongEviction", changed(a(Fault), began=128.0), "a1 on rp-1/n1 was deleted"),
    ("NoWrongEviction", changed(a(Fault), ended=103.0), "a1 on rp-1/n1 was deleted"),
    (
        "NoWrongEviction",
        added(node_seen(70.0, 30, N2, "Unknown"), Fault("rp-pause", "rp-1", 60.0, 90.0, partitions=("rp-1",))),
        "rp-1/n2 was called Unknown",
    ),
    (
        "NoWrongEviction",
        added(node_seen(70.0, 30, N2, "True", "node.kubernetes.io/not-ready")),
        "rp-1/n2 was tainted node.kubernetes.io/not-ready",
    ),
    (
        "NoWrongEviction",
        all_of(
            added(Deleted(135.0, 135.1, "tp-2", "b2", "b2")),
            added(seen(136.0, "tp-2", "deleted", 57, "b2", node=N2, disruption="DeletionByTaintManager")),
        ),
        "b2 was evicted from rp-1/n2, which was not silent",
    ),
    (
        "NoWrongEviction",
        added(
            seen(136.0, "tp-1", "modified", 55, "a2", workload="a", phase="Running", node=N2, ending=True),
            seen(137.0, "tp-1", "modified", 56, "a2", workload="a", phase="Failed", node=N2, ending=True),
        ),
        "a2 on rp-1/n2 was deleted for no recorded reason",
    ),
    ("NoWrongEviction", added(NodeSeen(50.0, "rp-1/nodes/a", "deleted", 30, N2, "x")), "rp-1/n2 was deleted"),
    # EvictedEventually
    ("EvictedEventually", changed(a(PodSeen, uid="b1", resource_version=40), at=113.0), "b1 of tp-2 was not evicted"),
    ("EvictedEventually", without(a(PodSeen, uid="a1", ending=True)), "a1 of tp-1 was not evicted"),
    (
        "EvictedEventually",
        all_of(
            changed(a(PodSeen, uid="a1", resource_version=40), at=119.0),
            added(Fault("tp-dark", "tp-2", 99.0, 118.0, partitions=("tp-2",))),
        ),
        "a1 of tp-1 was not evicted",
    ),
    (
        "EvictedEventually",
        all_of(without(a(PodSeen, uid="a1")), without(a(PodSeen, uid="b1"))),
        "there is nothing to judge",
    ),
    # ComeBack
    ("ComeBack", never(Workload), "nothing to judge"),
    ("ComeBack", never(Recovered), "nobody looked whether everything came back after node-death"),
    ("ComeBack", changed(a(Recovered), began=120.0), "nobody looked"),
    ("ComeBack", changed(a(Recovered), late=("scheduler-tp-1 is not ready",)), "scheduler-tp-1 is not ready"),
    ("ComeBack", changed(a(PodSeen, uid="a2", phase="Running"), ready=False), "tp-1 a has 0 of 1 replicas"),
    ("ComeBack", changed(a(PodSeen, uid="b2", phase="Running"), at=135.0), "tp-2 b has 0 of 1 replicas"),
    ("ComeBack", without(a(FinalPod, uid="a2")), "in the end: tp-1 a has 0 of 1"),
    (
        "ComeBack",
        added(FinalPod("tp-2", "/t/default/b3", "b3", 44, N2, "Running", "b", ready=True)),
        "in the end: tp-2 b has 2 of 1",
    ),
    # ClaimsRight
    ("ClaimsRight", never(FinalNode), "nothing to judge"),
    ("ClaimsRight", without(a(FinalRead, resource="capacityclaims")), "nothing to judge"),
    ("ClaimsRight", without(a(FinalClaim, uid="a2")), "bound to rp-1/n2 without a claim"),
    ("ClaimsRight", added(FinalClaim(N1, "a1", "tp-1", ONE_CPU)), "a claim on rp-1/n1 without a live pod"),
    ("ClaimsRight", changed(a(FinalClaim, uid="a2"), node=N1), "its claim is on rp-1/n1"),
    ("ClaimsRight", changed(a(FinalClaim, uid="a2"), partition="tp-2"), "for tp-2"),
    ("ClaimsRight", changed(a(FinalClaim, uid="a2"), requests={"cpu": 1}), "its claim holds {'cpu': 1}"),
    ("ClaimsRight", added(FinalClaim(N1, "a2", "tp-1", ONE_CPU)), "a claim on rp-1/n1 and one on rp-1/n2"),
    ("ClaimsRight", changed(a(FinalPod, uid="a2"), phase="Failed"), "a claim on rp-1/n2 without a live pod"),
    ("ClaimsRight", changed(a(FinalNode, node=N1), claimed={"tp-1": ONE_CPU}), "the ledger of rp-1/n1 holds"),
    ("ClaimsRight", changed(a(FinalNode, node=N2), claimed={"tp-1": ONE_CPU}), "the ledger of rp-1/n2 holds {}"),
    ("ClaimsRight", changed(a(FinalNode, node=N2), pods={"tp-1": 2, "tp-2": 1}), "counts 2 claims of tp-1"),
    ("ClaimsRight", changed(a(FinalNode, node=N1), promises=1), "still has 1 promises"),
    # OrderedStatus
    ("OrderedStatus", changed(a(PodSeen, uid="a1", resource_version=40), phase="Pending"), "was Running and then Pend"),
    ("OrderedStatus", changed(a(PodSeen, uid="job", event="deleted"), phase="Failed"), "was Succeeded and then Failed"),
    ("OrderedStatus", changed(a(PodSeen, uid="b1", event="deleted"), phase="Odd"), "unknown phase 'Odd'"),
    ("OrderedStatus", changed(a(PodSeen, uid="b1", resource_version=40), phase="Odd"), "unknown phase 'Odd'"),
    ("OrderedStatus", changed(a(PodSeen, uid="b1", resource_version=40), node=N2), "bound to rp-1/n1 and then"),
    (
        "OrderedStatus",
        added(seen(140.0, "tp-2", "added", 58, "b1", phase="Running", node=N1)),
        "was deleted, and is added again",
    ),
    (
        "OrderedStatus",
        added(seen(120.0, "tp-1", "modified", 45, "a1", phase="Running", node=N1), after=a(Created, name="b2")),
        "was being deleted and then was not",
    ),
    # Resumable
    (
        "Resumable",
        all_of(twice("tp-1/pods/a"), without(a(PodSeen, watch="tp-1/pods/b", uid="a2", resource_version=42))),
        "tp-1/pods/b: never told of a2 @42, as another watch did",
    ),
    ("Resumable", without(lambda fact: hasattr(fact, "watch")), "nothing to judge"),
    ("Resumable", without(a(WatchBegan, watch="tp-2/pods/a")), "a watch that never began"),
    ("Resumable", without(a(PodSeen, uid="a2", resource_version=43)), "has @42 of a2, there is @43"),
    ("Resumable", without(a(PodSeen, uid="b1", event="deleted")), "still has b1"),
    ("Resumable", without(a(PodSeen, uid="a2")), "has @None of a2"),
    ("Resumable", without(a(FinalRead, partition="tp-2")), "never read in the end"),
    ("Resumable", without(a(Position, watch="tp-2/pods/a", resource_version=60)), "never reached 60"),
    ("Resumable", changed(a(WatchBegan, resource_version=30), resource_version=25), "resumed from 25"),
    ("Resumable", changed(a(Position, watch="tp-1/pods/a", resource_version=60), resource_version=29), "went back"),
    (
        "Resumable",
        added(seen(51.0, "tp-1", "modified", 30, "a1", phase="Running", node=N1), after=a(WatchBegan, at=50.5)),
        "came after position 30",
    ),
    (
        "Resumable",
        added(
            seen(110.0, "tp-2", "modified", 43, "b2", phase="Running", node=N2), after=a(PodSeen, uid="b2", ready=True)
        ),
        "@43 and then @43",
    ),
    ("Resumable", added(seen(140.0, "tp-1", "deleted", 59, "ghost")), "deletes what it never told of"),
    ("Resumable", without(a(NodeSeen, resource_version=41)), "has @40 of uid-rp-1/n1, there is @41"),
]


@pytest.mark.parametrize(
    ("name", "mutation", "complaint"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_wrong_is_found(name: str, mutation: Mutation, complaint: str) -> None:
    assert complaint in found_by(name, mutant(mutation))
