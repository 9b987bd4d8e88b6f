"""Breadth-first search of every state, and the invariants that each state and each move must keep."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.simulation.claims.model import (
    ABSENT,
    BOUND,
    BY_HAND,
    ENDED,
    UNBOUND,
    Move,
    State,
    World,
    ends,
    holds,
    initial,
    release,
    revoke,
    slot,
)
from tests.simulation.claims.moves import moves


@dataclass(frozen=True)
class Found:
    """``broken``: the name of an invariant, "" if all hold; ``trace``: the shortest way there."""

    states: int
    transitions: int
    broken: str = ""
    trace: tuple[Move, ...] = ()
    complete: bool = True


def search(world: World, *, states_max: int | None = None) -> Found:
    """Every state that can be reached, or until an invariant breaks, or until there are more than ``states_max``."""
    first = initial(world)
    came_from: dict[State, tuple[State, Move] | None] = {first: None}
    queue, transitions = deque((first,)), 0
    while queue:
        state = queue.popleft()
        for move, after in moves(world, state):
            transitions += 1
            broken = broken_by_move(world, state, after)
            new = after not in came_from
            if new:
                came_from[after] = state, move
                broken = broken or broken_in(world, after)
                queue.append(after)
            if broken:
                way = (*_way(came_from, state), move)
                return Found(len(came_from), transitions, broken, way)
        if states_max is not None and len(came_from) > states_max:
            return Found(len(came_from), transitions, complete=False)
    return Found(len(came_from), transitions)


def broken_by_move(world: World, before: State, after: State) -> str:
    """NoOvercommit: what is held grows only within what the node offers. BoundOnce: a pod's node never changes."""
    for old, new in zip(before.books.ledgers, after.books.ledgers, strict=True):
        if new.held > old.held and new.held > new.size:
            return "NoOvercommit"
    for pod, changed in zip(before.pods, after.pods, strict=True):
        if pod.node >= 0 and changed.node != pod.node:
            return "BoundOnce"
        if pod.phase == ENDED and changed.phase not in (ENDED, ABSENT):
            return "EndedForEver"
    return ""


def broken_in(world: World, state: State) -> str:
    """The first invariant that the state breaks."""
    for number, pod in enumerate(state.pods):
        if pod.phase == BOUND and pod.how != BY_HAND:
            known = state.books.claims[slot(world, number, pod.node)]
            if not holds(state.books, world, number, pod.node):
                return "BoundUnderClaim"
            if known is None or known.epoch != pod.epoch:
                return "SameEpoch"
    return _broken_books(world, state) or _leak(world, state)


def _broken_books(world: World, state: State) -> str:
    """LedgerAgrees: a ledger is the sum of its claims. PromiseKept: a promise is held when its last victim has gone,
    unless the node shrank. OnePromisePerVictim. PromiseRecorded: a promise, and each victim, has a claim."""
    claims = state.books.claims
    for node, ledger in enumerate(state.books.ledgers):
        held = sum(size for pod, size in enumerate(world.pods) if holds(state.books, world, pod, node))
        if held != ledger.held:
            return "LedgerAgrees"
        victims = [victim for promise in ledger.promises for victim in promise.victims]
        if len(victims) != len(set(victims)):
            return "OnePromisePerVictim"
        for promise in ledger.promises:
            if claims[slot(world, promise.pod, node)] is None:
                return "PromiseRecorded"
            if not promise.victims and not ledger.shrunk:
                return "PromiseKept"
        if not all(holds(state.books, world, victim, node) for victim in victims):
            return "VictimsHold"
    return ""


def _leak(world: World, state: State) -> str:
    """NoLeak: the reconciler's moves alone (ask the tenant partition, release on what it says) leave no orphan."""
    books = state.books
    for number, before in enumerate(state.pods):
        for partition in range(world.rps):
            known = books.claims[partition * len(world.pods) + number]
            if known is None or (before.phase == BOUND and before.node == known.node):
                continue
            pod = revoke(world, before, known.epoch)
            told = known.epoch if pod.phase == UNBOUND else None
            if not ends(world, pod, known, told_epoch=told):
                return "NoLeak"
            books = release(world, books, number, known.node)
    running = [0] * len(world.nodes)
    for size, pod in zip(world.pods, state.pods, strict=True):
        if pod.phase == BOUND:
            running[pod.node] += size
    return "" if all(ledger.held <= room for ledger, room in zip(books.ledgers, running, strict=True)) else "NoLeak"


def _way(came_from: dict[State, tuple[State, Move] | None], state: State) -> tuple[Move, ...]:
    way: list[Move] = []
    step = came_from[state]
    while step is not None:
        state, move = step
        way.append(move)
        step = came_from[state]
    return tuple(reversed(way))
