"""What can happen next in a state of the model: everything that anybody could do, or that could arrive now."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.claims.model import (
    ABSENT,
    ADMITTED,
    BOUND,
    BY_HAND,
    CLAIMED,
    ENDED,
    HELD,
    UNBOUND,
    Books,
    Claim,
    Ledger,
    Move,
    PodState,
    State,
    View,
    World,
    bind,
    claim,
    ends,
    holds,
    release,
    revoke,
    settled,
    slot,
    with_claim,
)


def moves(world: World, state: State) -> Iterator[tuple[Move, State]]:
    """Everything that can happen next."""
    for move, after in _moves(world, state):
        if after.books is not state.books and any(after.servers):
            written = frozenset(_written(state.books, after.books))
            views = tuple(view and view._replace(written=view.written | written) for view in after.servers)
            after = after._replace(servers=views)
        yield move, after


def _written(before: Books, after: Books) -> Iterator[tuple[str, int]]:
    for node, (old, new) in enumerate(zip(before.ledgers, after.ledgers, strict=True)):
        if old != new:
            yield "ledger", node
    for at, (was, now) in enumerate(zip(before.claims, after.claims, strict=True)):
        if was != now:
            yield "claim", at


def _moves(world: World, state: State) -> Iterator[tuple[Move, State]]:
    yield from _tenant_moves(world, state)
    if world.servers:
        yield from _server_moves(world, state)
    else:
        for move, books, grant in book_moves(world, state, state.books):
            if books is not state.books or grant is not None:
                yield move, _kept(world, state, books, grant)
    yield from _node_moves(world, state)


def _tenant_moves(world: World, state: State) -> Iterator[tuple[Move, State]]:
    for number, pod in enumerate(state.pods):
        changes: list[tuple[Move, PodState | None]] = []
        if pod.phase != ABSENT:
            changes.append((("delete", number), pod._replace(phase=ABSENT)))
            if world.may_end and pod.phase != ENDED:
                changes.append((("end", number), pod._replace(phase=ENDED)))
            changes += [(("revoke", number, e), revoke(world, pod, e)) for e in range(pod.epoch, world.epochs)]
        changes += [
            (("bind", number, node, epoch), bind(world, pod, node, epoch, CLAIMED))
            for who, node, epoch in sorted(state.grants)
            if who == number
        ]
        if number in world.by_hand:
            changes += [
                (("bind by hand", number, node), bind(world, pod, node, pod.epoch, BY_HAND))
                for node in range(len(world.nodes))
            ]
            if pod.phase == BOUND and pod.how == BY_HAND and _may_admit(world, state, number):
                changes.append((("admit", number), pod._replace(how=ADMITTED)))
        for move, changed in changes:
            if changed is not None and changed != pod:
                pods = (*state.pods[:number], changed, *state.pods[number + 1 :])
                yield move, _pruned(world, state._replace(pods=pods))


def _may_admit(world: World, state: State, number: int) -> bool:
    """The kubelet's own claim, of the epoch that it sees, is held: any older one could still be revoked."""
    pod = state.pods[number]
    known = state.books.claims[slot(world, number, pod.node)]
    if known is None or not world.rules.kubelet_claims:
        return not world.rules.kubelet_claims
    current = known.epoch == pod.epoch or not world.rules.kubelet_claims_anew
    return current and holds(state.books, world, number, pod.node)


def book_moves(world: World, state: State, books: Books) -> Iterator[tuple[Move, Books, tuple[int, int, int] | None]]:
    """Claims and releases as they would be decided on ``books``; with the bind that an answer lets somebody send."""
    for number, pod in enumerate(state.pods):
        for node in range(len(world.nodes)):
            for epoch in range(pod.epoch + 1):
                for replaces in victims_of(world, number):
                    after, outcome = claim(world, books, number, node, epoch, replaces)
                    grant = (number, node, epoch) if outcome is HELD else None
                    yield ("claim", number, node, epoch, replaces), after, grant
        for partition in range(world.rps):
            known = books.claims[partition * len(world.pods) + number]
            if known is not None:
                for why in _grounds(world, state, number, known):
                    yield ("release", number, known.node, *why), release(world, books, number, known.node), None


def _grounds(world: World, state: State, number: int, known: Claim) -> Iterator[Move]:
    """On which grounds the claim may be released now."""
    pod, rules = state.pods[number], world.rules
    if ends(world, pod, known, told_epoch=None):
        yield ("fact",)
    for epoch in range(pod.epoch if rules.revoke_raises_epoch else 1):
        if ends(world, pod, known, told_epoch=epoch):
            yield ("revoked", epoch)
    if not rules.release_needs_fact and (number, known.node, known.epoch) in state.grants:
        yield ("timeout",)
    if not rules.release_needs_more_than_a_read and pod.phase == UNBOUND:
        yield ("read",)
    if not rules.release_needs_more_than_a_view:
        yield ("view",)


def victims_of(world: World, pod: int) -> Iterator[tuple[int, ...]]:
    yield ()
    if pod not in world.preemptors:
        return
    mine = [other for other in range(len(world.pods)) if other != pod and world.tp_of(other) == world.tp_of(pod)]
    for chosen in range(1, 1 << len(mine)):
        yield tuple(other for bit, other in enumerate(mine) if chosen >> bit & 1)


def _server_moves(world: World, state: State) -> Iterator[tuple[Move, State]]:
    """A server reads; later it decides on what it read, and writes only if that still stands."""
    for server, view in enumerate(state.servers):
        if view is None:
            yield ("read", server), _viewing(state, server, View(state.books, frozenset()))
            continue
        for move, books, grant in book_moves(world, state, view.books):
            if books is view.books and grant is None:
                continue
            pod, node = move[1], move[2]
            assert isinstance(pod, int)
            assert isinstance(node, int)
            written = _committed(world, state.books, view, books, node, slot(world, pod, node))
            if written is None:
                yield ("conflict", server), _viewing(state, server, None)
            else:
                done = _kept(world, state, written, grant)
                yield (*move, "by", server), _viewing(done, server, None)


def _committed(world: World, now: Books, view: View, wanted: Books, node: int, at: int) -> Books | None:
    """What is stored after the transaction; None: what it compares has been written since."""
    rules, read = world.rules, view.books
    writes_ledger = wanted.ledgers[node] != read.ledgers[node]
    writes_claim = wanted.claims[at] != read.claims[at]
    if rules.compared_by_revision:
        ledger_stands, claim_stands = ("ledger", node) not in view.written, ("claim", at) not in view.written
    else:
        ledger_stands, claim_stands = now.ledgers[node] == read.ledgers[node], now.claims[at] == read.claims[at]
    if writes_ledger and rules.ledger_is_compared and not ledger_stands:
        return None
    if writes_claim and rules.claim_is_compared and not claim_stands:
        return None
    return with_claim(
        now,
        at,
        wanted.claims[at] if writes_claim else now.claims[at],
        node,
        wanted.ledgers[node] if writes_ledger else now.ledgers[node],
    )


def _node_moves(world: World, state: State) -> Iterator[tuple[Move, State]]:
    if not state.changes_left:
        return
    for node, ledger in enumerate(state.books.ledgers):
        changes: list[tuple[str, Ledger]] = []
        if ledger.there:
            changes.append(("node deleted", ledger._replace(there=False, size=0, shrunk=True)))
            if ledger.size:
                changes.append(("node shrinks", ledger._replace(size=ledger.size - 1, shrunk=True)))
        else:
            back = ledger._replace(there=True, size=world.nodes[node])
            if not world.rules.node_keeps_ledger:
                back = back._replace(held=0, promises=())
            changes.append(("node created", back))
        for name, changed in changes:
            ledgers = (*state.books.ledgers[:node], settled(world, changed), *state.books.ledgers[node + 1 :])
            books = state.books._replace(ledgers=ledgers)
            yield (name, node), state._replace(books=books, changes_left=state.changes_left - 1)


def _viewing(state: State, server: int, view: View | None) -> State:
    return state._replace(servers=(*state.servers[:server], view, *state.servers[server + 1 :]))


def _kept(world: World, state: State, books: Books, grant: tuple[int, int, int] | None) -> State:
    grants = state.grants | {grant} if grant is not None else state.grants
    return _pruned(world, state._replace(books=books, grants=grants))


def _pruned(world: World, state: State) -> State:
    """Without the binds that can change nothing any more, under the very rules that are searched."""
    kept = frozenset(
        grant
        for grant in state.grants
        if not world.rules.release_needs_fact
        or bind(world, state.pods[grant[0]], grant[1], grant[2], CLAIMED) not in (None, state.pods[grant[0]])
        or (state.pods[grant[0]].phase == UNBOUND and grant[2] >= state.pods[grant[0]].epoch)
    )
    return state if kept == state.grants else state._replace(grants=kept)
