"""Move by move, the code does what the model does: the ledger's arithmetic, the bind and its revocation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Binding, Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger, ClaimRelease
from services.placement import ledger as code
from services.rpc.status import StatusError
from services.tenant_partition.binding import Cause, bound
from services.tenant_partition.revocation import revoked
from tests.simulation.claims import model
from tests.simulation.claims.model import Books, PodState, World
from tests.simulation.claims.moves import moves, victims_of
from tests.simulation.claims.worlds import WORLDS

_PHASES = {model.UNBOUND: "Pending", model.BOUND: "Running", model.ENDED: "Failed"}


def all_books(world: World) -> Iterator[Books]:
    """Every state of the resource partitions that can be reached."""
    first = model.initial(world)
    seen, queue, books = {first}, deque((first,)), {first.books}
    while queue:
        for _, after in moves(world, queue.popleft()):
            if after not in seen:
                seen.add(after)
                queue.append(after)
                books.add(after.books)
    yield from books


def claim_of(world: World, pod: int, node: int, epoch: int, replaces: tuple[int, ...] = ()) -> CapacityClaim:
    message = CapacityClaim()
    message.metadata.name = f"p{pod}"
    message.spec.node_name, message.spec.bind_epoch = f"n{node}", epoch
    message.spec.tenant_partition = f"tp-{world.tp_of(pod)}"
    message.spec.requests["cpu"] = world.pods[pod]
    message.spec.replaces.extend(f"p{victim}" for victim in replaces)
    return message


def ledger_of(world: World, books: Books, node: int) -> code.Ledger | None:
    """As the code stores it; None: it stores none."""
    kept = books.ledgers[node]
    message = CapacityLedger(node_uid=f"u{node}" if kept.there else "")
    if kept.there:
        message.allocatable.update({"cpu": kept.size, "pods": 100})
    totals: dict[str, list[int]] = {}
    for pod, size in enumerate(world.pods):
        if model.holds(books, world, pod, node):
            totals.setdefault(f"tp-{world.tp_of(pod)}", []).append(size)
    for partition, sizes in sorted(totals.items()):
        message.claimed.add(tenant_partition=partition, requests={"cpu": sum(sizes)}, pods=len(sizes))
    for promise in kept.promises:
        told = message.promises.add(pod_uid=f"p{promise.pod}", tenant_partition=f"tp-{world.tp_of(promise.pod)}")
        told.requests["cpu"] = world.pods[promise.pod]
        for victim in promise.victims:
            told.waits_for.add(pod_uid=f"p{victim}", requests={"cpu": world.pods[victim]})
    return code.Ledger.of(message) if kept.there or message.claimed or message.promises else None


def node_of(node: int, size: int) -> Node:
    found = Node()
    found.metadata.name, found.metadata.uid = f"n{node}", f"u{node}"
    found.status.allocatable.update({"cpu": f"{size}m", "pods": "100"})
    return found


@pytest.mark.parametrize("name", [name for name, world in WORLDS.items() if not world.servers])
def test_the_ledger_moves_as_the_model_does(name: str) -> None:
    world, checked = WORLDS[name], 0
    for books in all_books(world):
        checked += _check_claims(world, books) + _check_releases(world, books) + _check_nodes(world, books)
    assert checked > 100


def _check_claims(world: World, books: Books) -> int:
    checked = 0
    for pod in range(len(world.pods)):
        for node in range(len(world.nodes)):
            for epoch in range(world.epochs + 1):
                for replaces in victims_of(world, pod):
                    _check_claim(world, books, pod, node, epoch, replaces)
                    checked += 1
    return checked


def _check_claim(world: World, books: Books, pod: int, node: int, epoch: int, replaces: tuple[int, ...]) -> None:
    def recorded(uid: str) -> CapacityClaim | None:
        number = int(uid[1:])
        known = books.claims[model.slot(world, number, node)]
        return None if known is None else claim_of(world, number, known.node, known.epoch)

    after, outcome = model.claim(world, books, pod, node, epoch, replaces)
    decided = code.claim(ledger_of(world, books, node), claim_of(world, pod, node, epoch, replaces), recorded)
    assert decided.state.name.lower() == outcome
    assert decided.ledger == ledger_of(world, after, node)
    at = model.slot(world, pod, node)
    before, stored = books.claims[at], after.claims[at]
    if decided.record is None:
        assert stored == before
    else:
        assert stored is not None
        assert (decided.record.spec.node_name, decided.record.spec.bind_epoch) == (f"n{stored.node}", stored.epoch)
    if before is not None and before.node != node:
        assert decided.reason == code.HELD_ELSEWHERE
        assert (decided.node_name, decided.bind_epoch) == (f"n{before.node}", before.epoch)


def _check_releases(world: World, books: Books) -> int:
    checked = 0
    for pod in range(len(world.pods)):
        for partition in range(world.rps):
            known = books.claims[partition * len(world.pods) + pod]
            if known is None:
                continue
            before = ledger_of(world, books, known.node)
            assert before is not None
            after = code.release(before, claim_of(world, pod, known.node, known.epoch))
            assert after == ledger_of(world, model.release(world, books, pod, known.node), known.node)
            checked += 1
    return checked


def _check_nodes(world: World, books: Books) -> int:
    for node, ledger in enumerate(books.ledgers):
        before = ledger_of(world, books, node)
        for size in range(world.nodes[node] + 1):
            changed = model.settled(world, ledger._replace(there=True, size=size))
            ledgers = (*books.ledgers[:node], changed, *books.ledgers[node + 1 :])
            expected = ledger_of(world, books._replace(ledgers=ledgers), node)
            assert code.node_changed(before, node_of(node, size)) == expected
        gone = model.settled(world, ledger._replace(there=False, size=0))
        ledgers = (*books.ledgers[:node], gone, *books.ledgers[node + 1 :])
        assert code.node_changed(before, None) == ledger_of(world, books._replace(ledgers=ledgers), node)
    return len(books.ledgers)


def pods() -> Iterator[PodState]:
    """Every state of a pod that is there, epochs up to 2, two nodes."""
    for epoch in range(3):
        for how in (model.BY_HAND, model.CLAIMED):
            for phase, node in ((model.UNBOUND, -1), (model.ENDED, -1), (model.BOUND, 0), (model.ENDED, 1)):
                yield PodState(phase, node, epoch, how if node >= 0 else model.BY_HAND)


def pod_of(state: PodState) -> Pod:
    pod = Pod()
    pod.metadata.name, pod.metadata.uid = "web", "p0"
    pod.status.phase = _PHASES[state.phase]
    pod.spec.bind_epoch, pod.spec.capacity_claimed = state.epoch, state.how == model.CLAIMED
    if state.node >= 0:
        pod.spec.node_name, pod.spec.resource_partition = f"n{state.node}", "rp-1"
    return pod


def state_of(pod: Pod, like: PodState) -> PodState:
    node = int(pod.spec.node_name[1:]) if pod.spec.node_name else -1
    phase = model.BOUND if node >= 0 and like.phase == model.UNBOUND else like.phase
    return PodState(phase, node, pod.spec.bind_epoch, model.CLAIMED if pod.spec.capacity_claimed else model.BY_HAND)


# docs/semantics.md: refusals of a bind that hold for ever, whatever happens.
FOR_EVER = {Cause.UID, Cause.BOUND, Cause.EPOCH, Cause.DELETING, Cause.TERMINAL}


@pytest.mark.parametrize("state", list(pods()))
@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_bind_moves_as_the_model_does(state: PodState, node: int, epoch: int) -> None:
    expected = model.bind(WORLDS["race"], state, node, epoch, model.CLAIMED)
    binding = Binding(resource_partition="rp-1", bind_epoch=epoch, capacity_claimed=True)
    binding.metadata.name, binding.metadata.uid, binding.target.name = "web", "p0", f"n{node}"
    pod = pod_of(state)
    try:
        after = bound(binding, pod, 7, 0)
    except StatusError as refusal:
        assert expected is None
        later = (model.bind(WORLDS["race"], state._replace(epoch=more), node, epoch, model.CLAIMED) for more in (3, 4))
        if refusal.metadata["cause"] in FOR_EVER:
            assert all(found is None for found in later)
        else:
            assert refusal.metadata["cause"] == Cause.AHEAD
    else:
        assert expected is not None
        assert state_of(after, state) == expected
        assert (after is pod) == (expected == state)


@pytest.mark.parametrize("state", list(pods()))
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_revocation_moves_as_the_model_does_and_what_it_tells_ends_the_same_claims(
    state: PodState, epoch: int
) -> None:
    world = WORLDS["race"]
    outcome, after = revoked(PodRevocation(uid="p0", bind_epoch=epoch), pod_of(state))
    expected = model.revoke(world, state, epoch)
    assert state_of(after, state) == expected
    for node in (0, 1):
        for claimed in range(expected.epoch + 1):
            claim = claim_of(world, 0, node, claimed)
            told_epoch = epoch if outcome.state == RevocationOutcome.REVOKED else None
            ended = model.ends(world, expected, model.Claim(node, claimed), told_epoch=told_epoch)
            assert code.ends(claim, fact_of(outcome, epoch)) == ended


def fact_of(outcome: RevocationOutcome, epoch: int) -> ClaimRelease:
    """What a reconciler makes of the answer."""
    facts = {
        RevocationOutcome.ABSENT: ClaimRelease.ABSENT,
        RevocationOutcome.TERMINAL: ClaimRelease.TERMINAL,
        RevocationOutcome.BOUND: ClaimRelease.BOUND_ELSEWHERE,
        RevocationOutcome.REVOKED: ClaimRelease.REVOKED,
    }
    return ClaimRelease(pod_uid=outcome.uid, fact=facts[outcome.state], node_name=outcome.node_name, bind_epoch=epoch)
