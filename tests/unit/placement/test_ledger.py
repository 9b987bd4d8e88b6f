"""The ledger's arithmetic: what a node can hold, and what promises keep for those who wait."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger, ClaimRelease
from services.placement import ledger as ledgers
from services.placement.ledger import Decision, Ledger, State


def node(uid: str = "n-1", cpu: str = "4", pods: str = "10") -> Node:
    found = Node()
    found.metadata.name, found.metadata.uid = "a", uid
    found.status.allocatable.update({"cpu": cpu, "pods": pods})
    return found


def claim(
    uid: str,
    cpu: int = 0,
    *,
    node: str = "a",
    node_uid: str = "",
    partition: str = "tp-1",
    epoch: int = 0,
    replaces: tuple[str, ...] = (),
    port: int = 0,
) -> CapacityClaim:
    found = CapacityClaim()
    found.metadata.name = uid
    found.spec.node_name, found.spec.node_uid, found.spec.tenant_partition = node, node_uid, partition
    found.spec.bind_epoch = epoch
    found.spec.replaces.extend(replaces)
    if cpu:
        found.spec.requests["cpu"] = cpu
    if port:
        found.spec.host_ports.add(protocol="TCP", host_ip="0.0.0.0", host_port=port)
    return found


class Books:
    """A partition's claims on nodes, kept as a server keeps them: through stored bytes."""

    def __init__(self, *nodes: Node) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self.claims: dict[str, CapacityClaim] = {}
        for each in nodes:
            self.node(each)

    def node(self, changed: Node | None, name: str = "a") -> None:
        self._keep(name, ledgers.node_changed(self.ledgers.get(name), changed))

    def claim(self, wanted: CapacityClaim) -> Decision:
        decision = ledgers.claim(self.ledgers.get(wanted.spec.node_name), wanted, self.claims.get)
        if decision.state is State.REFUSED:
            assert decision.record is None
            assert decision.ledger is self.ledgers.get(wanted.spec.node_name)
        elif decision.record is not None:
            self.claims[wanted.metadata.name] = decision.record
        self._keep(wanted.spec.node_name, decision.ledger)
        return decision

    def end(self, uid: str) -> None:
        ended = self.claims.pop(uid)
        self._keep(ended.spec.node_name, ledgers.release(self.ledgers[ended.spec.node_name], ended))

    def held(self, name: str = "a") -> dict[str, int]:
        total: dict[str, int] = {}
        for amounts in self.ledgers[name].claimed.values():
            for resource, amount in amounts.items():
                total[resource] = total.get(resource, 0) + amount
        return total

    def _keep(self, name: str, changed: Ledger | None) -> None:
        if changed is None:
            self.ledgers.pop(name, None)
            return
        message = CapacityLedger()
        changed.write_to(message)
        self.ledgers[name] = Ledger.of(CapacityLedger.FromString(message.SerializeToString()))
        assert self.ledgers[name] == changed


def test_a_claim_is_held_while_there_is_room_and_refused_by_the_name_of_what_is_short() -> None:
    books = Books(node(cpu="4", pods="3"))
    assert books.claim(claim("p1", 3000)).state is State.HELD
    refused = books.claim(claim("p2", 1001))
    assert (refused.state, refused.reason, refused.message) == (State.REFUSED, "Insufficient", "Insufficient cpu")
    assert books.claim(claim("p2", 1000)).state is State.HELD
    assert books.claim(claim("p3")).state is State.HELD  # It asks for nothing that is short.
    assert books.claim(claim("p4")).message == "Too many pods"
    assert books.held() == {"cpu": 4000, "pods": 3}


def test_a_claim_that_ended_leaves_its_room_to_others() -> None:
    books = Books(node())
    books.claim(claim("p1", 4000))
    assert books.claim(claim("p2", 1)).state is State.REFUSED
    books.end("p1")
    assert books.held() == {}
    assert books.claim(claim("p2", 4000, partition="tp-2")).state is State.HELD


def test_the_same_claim_again_is_held_again_and_counted_once() -> None:
    books = Books(node())
    first = books.claim(claim("p1", 3000))
    again = books.claim(claim("p1", 3000))
    assert (first.state, again.state, again.record) == (State.HELD, State.HELD, None)
    assert again.ledger is not None
    assert again.ledger.claimed == first.ledger.claimed  # type: ignore[union-attr]


def test_a_newer_epoch_is_recorded_and_an_older_one_refused() -> None:
    books = Books(node())
    books.claim(claim("p1", 1, epoch=1))
    newer = books.claim(claim("p1", 1, epoch=3))
    assert newer.record is not None
    assert (newer.state, newer.record.spec.bind_epoch) == (State.HELD, 3)
    older = books.claim(claim("p1", 1, epoch=2))
    assert (older.state, older.reason, older.bind_epoch) == (State.REFUSED, "EpochPassed", 3)


def test_a_pod_with_a_claim_on_another_node_is_told_which() -> None:
    books = Books(node())
    books.claim(claim("p1", 1, epoch=2))
    other = node("n-2")
    books.node(other, "b")
    found = books.claim(claim("p1", 1, node="b", epoch=5))
    assert (found.state, found.reason, found.node_name, found.bind_epoch) == (State.REFUSED, "HeldElsewhere", "a", 2)


def test_a_claim_needs_the_node_that_was_meant() -> None:
    books = Books()
    assert books.claim(claim("p1")).reason == "NodeNotFound"
    books.node(node("n-1"))
    assert books.claim(claim("p1", node_uid="n-0")).reason == "NodeChanged"
    assert books.claim(claim("p1", node_uid="n-1")).state is State.HELD
    books.node(None)
    assert books.claim(claim("p2")).reason == "NodeNotFound"


def test_host_ports_are_taken_by_one_claim() -> None:
    books = Books(node())
    books.claim(claim("p1", port=80))
    assert books.claim(claim("p2", port=80)).reason == "PortConflict"
    assert books.claim(claim("p2", port=81)).state is State.HELD
    books.end("p1")
    assert books.claim(claim("p3", port=80)).state is State.HELD


def test_what_victims_free_is_promised_and_cannot_be_taken_by_another() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v1", 2000))
    books.claim(claim("v2", 2000))
    promised = books.claim(claim("p", 3000, replaces=("v1", "v2")))
    assert promised.state is State.PROMISED
    books.end("v1")
    assert books.claim(claim("thief", 2000, partition="tp-2")).message == "Insufficient cpu"
    assert books.claim(claim("p", 3000, replaces=("v1", "v2"))).state is State.PROMISED
    assert books.held() == {"cpu": 2000, "pods": 1}
    books.end("v2")
    assert books.held() == {"cpu": 3000, "pods": 1}
    assert books.claim(claim("p", 3000, replaces=("v1", "v2"))).state is State.HELD
    assert books.claim(claim("small", 1000, partition="tp-2")).state is State.HELD


def test_a_promise_counts_the_most_of_itself_and_its_victims() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 3000))
    books.claim(claim("p", 1000, replaces=("v",)))
    assert books.claim(claim("q", 1001)).state is State.REFUSED  # The victim still runs.
    assert books.claim(claim("q", 1000)).state is State.HELD
    books.end("v")
    assert books.claim(claim("r", 2000)).state is State.HELD
    assert books.held() == {"cpu": 4000, "pods": 3}


def test_a_promise_takes_over_the_host_port_of_its_victim_alone() -> None:
    books = Books(node())
    books.claim(claim("v", port=80))
    assert books.claim(claim("p", port=80, replaces=("v",))).state is State.PROMISED
    assert books.claim(claim("q", port=80)).reason == "PortConflict"
    books.end("v")
    assert books.claim(claim("q", port=80)).reason == "PortConflict"
    books.end("p")
    assert books.claim(claim("q", port=80)).state is State.HELD


def test_a_promise_that_does_not_fit_without_its_victims_is_refused() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 1000))
    books.claim(claim("other", 3000, partition="tp-2"))
    assert books.claim(claim("p", 1001, replaces=("v",))).message == "Insufficient cpu"


def test_victims_that_have_ended_are_not_waited_for() -> None:
    books = Books(node())
    assert books.claim(claim("p", 4000, replaces=("gone", "gone-too"))).state is State.HELD


def test_a_victim_belongs_to_one_promise_of_its_own_partition() -> None:
    books = Books(node())
    books.claim(claim("v", 3000))
    books.claim(claim("w", 500, partition="tp-2"))
    books.claim(claim("p", 3000, replaces=("v",)))
    assert books.claim(claim("q", 3000, replaces=("v",))).reason == "VictimPromised"
    assert books.claim(claim("q", 3000, replaces=("p",))).reason == "VictimPromised"
    assert books.claim(claim("q", 500, replaces=("w",))).reason == "VictimForeign"


def test_a_promise_that_is_given_up_frees_what_it_kept() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 1000))
    books.claim(claim("p", 4000, replaces=("v",)))
    assert books.claim(claim("q", 1000)).state is State.REFUSED
    books.end("p")
    assert books.claim(claim("q", 3000)).state is State.HELD


def test_a_promise_claimed_again_is_held_as_soon_as_there_is_room_without_its_victims() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 2000))
    books.claim(claim("other", 2000))
    books.claim(claim("p", 2000, replaces=("v",)))
    assert books.claim(claim("p", 2000)).state is State.PROMISED
    books.end("other")
    assert books.claim(claim("p", 2000)).state is State.HELD
    assert books.held() == {"cpu": 4000, "pods": 2}


def test_a_promise_claimed_again_with_other_victims_waits_for_those() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 2000))
    books.claim(claim("w", 2000))
    books.claim(claim("p", 2000, replaces=("v",)))
    assert books.claim(claim("p", 2000, replaces=("w",))).state is State.PROMISED
    books.end("w")
    assert books.held() == {"cpu": 4000, "pods": 2}
    assert books.ledgers["a"].promises == ()


def test_a_shrunken_node_holds_what_it_held_and_nothing_more() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("p1", 4000))
    books.node(node(cpu="2"))
    assert books.held() == {"cpu": 4000, "pods": 1}
    assert books.claim(claim("p2", 1)).state is State.REFUSED
    assert books.claim(claim("p3")).state is State.HELD


def test_a_promise_waits_on_when_the_node_shrank_meanwhile() -> None:
    books = Books(node(cpu="4"))
    books.claim(claim("v", 4000))
    books.claim(claim("p", 3000, replaces=("v",)))
    books.node(node(cpu="2"))
    books.end("v")
    assert books.held() == {}
    assert books.claim(claim("p", 3000, replaces=("v",))).state is State.PROMISED
    books.node(node(cpu="3"))
    assert books.claim(claim("p", 3000)).state is State.HELD
    assert books.held() == {"cpu": 3000, "pods": 1}


def test_the_ledger_outlives_its_node_while_there_are_claims() -> None:
    books = Books(node("n-1"))
    books.claim(claim("p1", 3000))
    books.node(None)
    assert books.ledgers["a"].node_uid == ""
    books.node(node("n-2"))
    assert books.claim(claim("p2", 2000, node_uid="n-2")).state is State.REFUSED
    books.node(None)
    books.end("p1")
    assert books.ledgers == {}


def test_an_unchanged_node_leaves_the_very_same_ledger() -> None:
    books = Books(node("n-1"))
    assert ledgers.node_changed(books.ledgers["a"], node("n-1")) is books.ledgers["a"]


@pytest.mark.parametrize(
    ("fact", "epoch", "where", "expected"),
    [
        (ClaimRelease.ABSENT, 0, "", True),
        (ClaimRelease.TERMINAL, 0, "", True),
        (ClaimRelease.REVOKED, 1, "", False),
        (ClaimRelease.REVOKED, 2, "", True),
        (ClaimRelease.BOUND_ELSEWHERE, 9, "a", False),
        (ClaimRelease.BOUND_ELSEWHERE, 0, "b", True),
        (ClaimRelease.BOUND_ELSEWHERE, 0, "", True),
        (ClaimRelease.FACT_UNSPECIFIED, 9, "b", False),
    ],
)
def test_what_ends_a_claim(fact: ClaimRelease.Fact.ValueType, epoch: int, where: str, expected: bool) -> None:
    told = ClaimRelease(pod_uid="p", fact=fact, bind_epoch=epoch, node_name=where)
    assert ledgers.ends(claim("p", epoch=2), told) is expected


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(("claim", "claim", "claim", "end", "node")),
        st.integers(0, 7),
        st.integers(0, 4),
        st.sets(st.integers(0, 7), max_size=3),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(_MOVES)
def test_held_claims_never_exceed_the_node_unless_it_shrank(moves: list[tuple[str, int, int, set[int]]]) -> None:
    books = Books(node(cpu="4", pods="5"))
    amounts = {f"p{number}": 1000 * (number % 4) for number in range(8)}
    for move, number, size, victims in moves:
        uid = f"p{number}"
        before = books.held() if "a" in books.ledgers else {}
        if move == "claim":
            replaces = tuple(f"p{victim}" for victim in sorted(victims) if size > 2)
            port = 80 if number in (1, 5) else 0
            books.claim(claim(uid, amounts[uid], replaces=replaces, port=port))
        elif move == "end":
            if uid in books.claims:
                books.end(uid)
        else:
            books.node(node(f"n-{number}", cpu=str(size)) if size else None)
        _check(books, before, amounts)


def _check(books: Books, before: dict[str, int], amounts: dict[str, int]) -> None:
    """What is held grew only within allocatable; the sums are those of the claims; a victim is promised once."""
    kept = books.ledgers.get("a", Ledger())
    held = books.held() if "a" in books.ledgers else {}
    for resource, amount in held.items():
        assert amount <= max(kept.allocatable.get(resource, 0), before.get(resource, 0))
    promised = {promise.pod_uid for promise in kept.promises}
    holding = set(books.claims) - promised
    assert promised <= set(books.claims)
    assert held.get("cpu", 0) == sum(amounts[uid] for uid in holding)
    assert held.get("pods", 0) == len(holding)
    victims = [victim.pod_uid for promise in kept.promises for victim in promise.waits_for]
    assert len(victims) == len(set(victims))
    assert set(victims) <= holding
