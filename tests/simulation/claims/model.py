"""The protocol of capacity claims, small enough to be searched whole.

Who sends is not modelled one by one: a message that somebody may send may arrive at any later time, any number of
times, or never. So any number of schedulers that crash, stand still, forget, or lose their answers are covered, and a
tenant partition that cannot be reached is one that does not move. What is modelled (here what happens to the state of
a partition, in ``moves`` what can happen next):

- a claim for any epoch that a pod has had, at any time, with or without victims to replace;
- a bind for every ``(pod, node, epoch)`` that was ever answered with HELD (``State.grants``);
- a bind by hand, without a claim, and the kubelet that claims for such a pod before it admits it;
- a revocation, whose answer is a fact; a release on any fact that is true (facts never become false again);
- pods that are deleted or end, nodes that shrink, are deleted, and come back;
- with ``servers``: resource-partition servers that decide on what they read earlier and then compare and swap.

``Rules`` has a switch per rule of the protocol; a test turns each one off and expects the search to notice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

UNBOUND, BOUND, ENDED, ABSENT = range(4)
BY_HAND, CLAIMED, ADMITTED = range(3)
HELD, PROMISED, REFUSED = "held", "promised", "refused"

Move = tuple[object, ...]
"""Its name, then what it is about."""


@dataclass(frozen=True)
class Rules:
    """All true: the protocol. One false: a mutant."""

    bind_compares_epoch: bool = True
    bind_only_unbound: bool = True
    bind_refuses_ended: bool = True
    revoke_raises_epoch: bool = True
    release_compares_epoch: bool = True
    release_keeps_where_bound: bool = True
    release_needs_fact: bool = True
    release_needs_more_than_a_read: bool = True
    release_needs_more_than_a_view: bool = True
    claim_raises_epoch: bool = True
    claim_refuses_old_epoch: bool = True
    one_claim_per_pod: bool = True
    promise_is_reserved: bool = True
    promise_counts_the_greater: bool = True
    promise_waits_for_all: bool = True
    victim_is_promised_once: bool = True
    promise_held_only_with_room: bool = True
    victim_holds: bool = True
    node_keeps_ledger: bool = True
    kubelet_claims: bool = True
    kubelet_claims_anew: bool = True
    ledger_is_compared: bool = True
    claim_is_compared: bool = True
    compared_by_revision: bool = True


RULES = tuple(field.name for field in fields(Rules))


@dataclass(frozen=True)
class World:
    """What is searched: sizes of pods and nodes, and how often what could go on for ever may happen."""

    pods: tuple[int, ...]
    nodes: tuple[int, ...]
    tenant_partition: tuple[int, ...] = ()
    resource_partition: tuple[int, ...] = ()
    epochs: int = 1
    preemptors: tuple[int, ...] = ()
    by_hand: tuple[int, ...] = ()
    node_changes: int = 0
    may_end: bool = True
    servers: int = 0
    rules: Rules = Rules()

    def tp_of(self, pod: int) -> int:
        return self.tenant_partition[pod] if self.tenant_partition else 0

    def rp_of(self, node: int) -> int:
        return self.resource_partition[node] if self.resource_partition else 0

    @property
    def rps(self) -> int:
        return 1 + max(self.resource_partition, default=0)


class PodState(NamedTuple):
    phase: int
    node: int
    epoch: int
    how: int


class Waiting(NamedTuple):
    """A promise: whose, and the claims that it waits for."""

    pod: int
    victims: tuple[int, ...]


class Ledger(NamedTuple):
    """``there``: the node exists. ``shrunk``: it once offered more than now."""

    there: bool
    size: int
    held: int
    promises: tuple[Waiting, ...]
    shrunk: bool


class Claim(NamedTuple):
    node: int
    epoch: int


class Books(NamedTuple):
    """What the resource partitions store. ``claims``: by partition and pod."""

    claims: tuple[Claim | None, ...]
    ledgers: tuple[Ledger, ...]


class View(NamedTuple):
    """What a server has read, and what of it was written since: ``("ledger", node)``, ``("claim", slot)``."""

    books: Books
    written: frozenset[tuple[str, int]]


class State(NamedTuple):
    pods: tuple[PodState, ...]
    books: Books
    grants: frozenset[tuple[int, int, int]]
    changes_left: int
    servers: tuple[View | None, ...]


def initial(world: World) -> State:
    pods = tuple(PodState(UNBOUND, -1, 0, BY_HAND) for _ in world.pods)
    ledgers = tuple(Ledger(True, size, 0, (), False) for size in world.nodes)
    books = Books((None,) * (world.rps * len(world.pods)), ledgers)
    return State(pods, books, frozenset(), world.node_changes, (None,) * world.servers)


# -- the resource partition


def used(world: World, ledger: Ledger) -> int:
    total = ledger.held
    if world.rules.promise_is_reserved:
        for promise in ledger.promises:
            kept = world.pods[promise.pod] - sum(world.pods[victim] for victim in promise.victims)
            total += max(0, kept) if world.rules.promise_counts_the_greater else kept
    return total


def slot(world: World, pod: int, node: int) -> int:
    return world.rp_of(node) * len(world.pods) + pod


def holds(books: Books, world: World, pod: int, node: int) -> bool:
    """The pod's claim on the node is recorded, and not merely promised."""
    claim = books.claims[slot(world, pod, node)]
    return claim is not None and claim.node == node and all(p.pod != pod for p in books.ledgers[node].promises)


def claim(world: World, books: Books, pod: int, node: int, epoch: int, replaces: tuple[int, ...]) -> tuple[Books, str]:
    rules, at = world.rules, slot(world, pod, node)
    known, ledger = books.claims[at], books.ledgers[node]
    if known is not None and rules.one_claim_per_pod:
        if known.node != node:
            return books, REFUSED
        if epoch < known.epoch and rules.claim_refuses_old_epoch:
            return books, REFUSED
        raised = known._replace(epoch=epoch if rules.claim_raises_epoch else known.epoch)
        return _claim_again(world, books, pod, node, raised, replaces)
    if not ledger.there:
        return books, REFUSED
    after, outcome = _decide(world, books, ledger, pod, node, replaces)
    if outcome is REFUSED:
        return books, REFUSED
    return with_claim(books, at, Claim(node, epoch), node, after), outcome


def _claim_again(
    world: World, books: Books, pod: int, node: int, raised: Claim, replaces: tuple[int, ...]
) -> tuple[Books, str]:
    at, ledger = slot(world, pod, node), books.ledgers[node]
    mine = next((promise for promise in ledger.promises if promise.pod == pod), None)
    if mine is None:
        return with_claim(books, at, raised, node, ledger), HELD
    rest = tuple(promise for promise in ledger.promises if promise is not mine)
    after, outcome = _decide(world, books, ledger._replace(promises=rest), pod, node, replaces)
    unchanged = next((promise for promise in after.promises if promise.pod == pod), None) == mine
    if outcome is REFUSED or unchanged:
        return with_claim(books, at, raised, node, ledger), PROMISED
    return with_claim(books, at, raised, node, after), outcome


def _decide(
    world: World, books: Books, ledger: Ledger, pod: int, node: int, replaces: tuple[int, ...]
) -> tuple[Ledger, str]:
    rules, size = world.rules, world.pods[pod]
    victims = []
    for victim in replaces:
        known = books.claims[slot(world, victim, node)]
        if known is None or known.node != node:
            continue
        if rules.victim_is_promised_once and any(victim in promise.victims for promise in ledger.promises):
            return ledger, REFUSED
        if rules.victim_holds and any(victim == promise.pod for promise in ledger.promises):
            return ledger, REFUSED
        victims.append(victim)
    freed = sum(world.pods[victim] for victim in victims)
    if used(world, ledger) - freed + size > ledger.size:
        return ledger, REFUSED
    if victims:
        promise = Waiting(pod, tuple(victims))
        return ledger._replace(promises=(*ledger.promises, promise)), PROMISED
    return ledger._replace(held=ledger.held + size), HELD


def release(world: World, books: Books, pod: int, node: int) -> Books:
    """End the pod's claim on the node."""
    ledger = books.ledgers[node]
    if any(promise.pod == pod for promise in ledger.promises):
        left = tuple(promise for promise in ledger.promises if promise.pod != pod)
        after = ledger._replace(promises=left)
    else:
        left = tuple(
            Waiting(promise.pod, tuple(victim for victim in promise.victims if victim != pod))
            for promise in ledger.promises
        )
        after = ledger._replace(held=ledger.held - world.pods[pod], promises=left)
        if not world.rules.promise_waits_for_all:
            before = {promise.pod: promise.victims for promise in ledger.promises}
            left = tuple(p._replace(victims=()) if p.victims != before[p.pod] else p for p in left)
            after = after._replace(promises=left)
    return with_claim(books, slot(world, pod, node), None, node, settled(world, after))


def settled(world: World, ledger: Ledger) -> Ledger:
    """Hold every promise that waits for nobody, where there is room."""
    held, left = ledger.held, []
    for promise in ledger.promises:
        size = world.pods[promise.pod]
        if promise.victims or (held + size > ledger.size and world.rules.promise_held_only_with_room):
            left.append(promise)
        else:
            held += size
    return ledger._replace(held=held, promises=tuple(left))


def with_claim(books: Books, at: int, claim: Claim | None, node: int, ledger: Ledger) -> Books:
    claims = (*books.claims[:at], claim, *books.claims[at + 1 :])
    return Books(claims, (*books.ledgers[:node], ledger, *books.ledgers[node + 1 :]))


# -- the tenant partition


def bind(world: World, pod: PodState, node: int, epoch: int, how: int) -> PodState | None:
    """The bound pod; None: refused."""
    rules = world.rules
    if pod.phase == ABSENT:
        return None
    if pod.node >= 0 and rules.bind_only_unbound:
        return pod if pod.node == node else None
    if pod.phase == ENDED and rules.bind_refuses_ended:
        return None
    if epoch != pod.epoch and rules.bind_compares_epoch:
        return None
    return PodState(BOUND, node, pod.epoch, how)


def revoke(world: World, pod: PodState, epoch: int) -> PodState:
    """The pod after BatchRevokeBind(epoch); unchanged where a fact stands already."""
    if pod.phase != UNBOUND or pod.epoch > epoch or not world.rules.revoke_raises_epoch:
        return pod
    return pod._replace(epoch=epoch + 1)


def ends(world: World, pod: PodState, claim: Claim, *, told_epoch: int | None) -> bool:
    """Does a fact that is true of the pod end the claim? ``told_epoch``: the fact is a revocation up to that epoch."""
    rules = world.rules
    if told_epoch is not None:
        revoked = pod.epoch > told_epoch or not rules.revoke_raises_epoch
        return revoked and (claim.epoch <= told_epoch or not rules.release_compares_epoch)
    if pod.phase in (ABSENT, ENDED):
        return True
    return pod.phase == BOUND and (pod.node != claim.node or not rules.release_keeps_where_bound)
