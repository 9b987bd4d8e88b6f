"""Garbage collection by owner reference: what belongs to an owner that is gone goes too.

Background (the default): dependents go once their last owner is gone. Foreground: the owner waits, with the finalizer
``foregroundDeletion``, until those dependents that block it are gone. Orphan: with the finalizer ``orphan`` it waits
until no dependent refers to it. An owner is gone when a consistent read says so, never because a watch did not show it.
Source: kube-controller-manager ``pkg/controller/garbagecollector``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.api.ownership import FOREGROUND, ORPHAN, OwnerState, Policy, Reference, Seen, Thing
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.rpc.status import StatusError

_LOG = logging.getLogger(__name__)


class Port(Protocol):
    """The partition, as far as garbage collection goes. Every method may raise ``StatusError``."""

    def sightings(self) -> AbstractAsyncContextManager[Callable[[], Awaitable[Sequence[Seen]]]]:
        """A function that waits for the next events: first everything there is, then what changes."""
        ...

    async def owner_state(self, dependent: Thing, owner: Reference) -> OwnerState:
        """By a consistent read of the UID."""
        ...

    async def dependents(self, owner: Thing) -> Sequence[Thing]:
        """Everything that refers to ``owner``, by consistent reads."""
        ...

    async def remove(self, thing: Thing, policy: Policy) -> None: ...

    async def drop_references(self, thing: Thing, uids: frozenset[str]) -> None: ...

    async def drop_finalizer(self, thing: Thing, finalizer: str) -> None: ...


@dataclass(frozen=True)
class Remove:
    thing: Thing
    policy: Policy


@dataclass(frozen=True)
class DropReferences:
    thing: Thing
    uids: frozenset[str]


@dataclass(frozen=True)
class DropFinalizer:
    thing: Thing
    finalizer: str


Action = Remove | DropReferences | DropFinalizer


def decide_dependent(thing: Thing, states: Mapping[str, OwnerState], *, has_dependents: bool) -> list[Action]:
    """What becomes of a thing, given the states of its owners by UID."""
    if thing.ending or not thing.owners:
        return []
    lost = frozenset(uid for uid, state in states.items() if state is not OwnerState.SOLID)
    if not lost:
        return []
    if len(lost) < len({owner.uid for owner in thing.owners}):
        return [DropReferences(thing, lost)]
    waited_for = any(states[owner.uid] is OwnerState.WAITING for owner in thing.owners)
    if ORPHAN in thing.finalizers:
        return [Remove(thing, Policy.ORPHAN)]
    if FOREGROUND in thing.finalizers or (waited_for and has_dependents):
        return [Remove(thing, Policy.FOREGROUND)]
    return [Remove(thing, Policy.BACKGROUND)]


def decide_owner(owner: Thing, dependents: Sequence[Thing]) -> list[Action]:
    """What a thing that waits needs: its dependents let go (orphan), or its finalizer lifted once none blocks it."""
    if not owner.waits:
        return []
    if ORPHAN in owner.finalizers:
        dropped: list[Action] = [DropReferences(thing, frozenset({owner.uid})) for thing in dependents]
        return [*dropped, DropFinalizer(owner, ORPHAN)]
    blocked = any(ref.uid == owner.uid and ref.blocks for thing in dependents for ref in thing.owners)
    return [] if blocked else [DropFinalizer(owner, FOREGROUND)]


class Graph:
    """Who refers to whom: things that have owners, and things that wait. Fed with sightings; tells what to look at."""

    def __init__(self) -> None:
        self._things: dict[str, Thing] = {}
        self._waiting: dict[str, Thing] = {}
        self._by_owner: dict[str, dict[str, None]] = {}
        self._dependents: dict[str, None] = {}
        self._owners: dict[str, None] = {}

    def see(self, seen: Iterable[Seen]) -> None:
        for sighting in seen:
            thing = sighting.thing
            self._forget(thing.key)
            if sighting.gone:
                self._waiting.pop(thing.uid, None)
                self._dependents.update(self._by_owner.get(thing.uid, {}))
                continue
            if thing.owners:
                self._remember(thing)
            if thing.waits:
                self._waiting[thing.uid] = thing
                self._owners[thing.uid] = None
                if ORPHAN not in thing.finalizers:
                    self._dependents.update(self._by_owner.get(thing.uid, {}))

    def take(self) -> tuple[list[Thing], list[Thing]]:
        """Dependents and waiting owners to look at now; each is told once."""
        dependents = [self._things[key] for key in self._dependents if key in self._things]
        owners = [self._waiting[uid] for uid in self._owners if uid in self._waiting]
        self._dependents, self._owners = {}, {}
        return dependents, owners

    def has_dependents(self, thing: Thing) -> bool:
        return bool(self._by_owner.get(thing.uid))

    def _remember(self, thing: Thing) -> None:
        self._things[thing.key] = thing
        self._dependents[thing.key] = None
        for owner in thing.owners:
            self._by_owner.setdefault(owner.uid, {})[thing.key] = None

    def _forget(self, key: str) -> None:
        known = self._things.pop(key, None)
        if known is None:
            return
        for owner in known.owners:
            found = self._by_owner.get(owner.uid, {})
            found.pop(key, None)
            if not found:
                self._by_owner.pop(owner.uid, None)
            if owner.uid in self._waiting:
                self._owners[owner.uid] = None


class GarbageCollector:
    """The loop. After a failure it begins anew from everything there is, so that nothing is ever forgotten."""

    def __init__(self, port: Port, clock: Clock, rand: Rand) -> None:
        self._port = port
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.2, maximum_s=10.0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._port.sightings() as sightings:
                    graph = Graph()
                    while True:
                        graph.see(await sightings())
                        await self.work(graph)
                        self._backoff.reset()
            except StatusError as failure:
                _LOG.info("garbage collection waits", extra={"why": failure.message})
            await self._clock.sleep(self._backoff.next())

    async def work(self, graph: Graph) -> None:
        """Look at what the graph points out. Raises ``StatusError``."""
        dependents, owners = graph.take()
        states: dict[tuple[str, ...], OwnerState] = {}
        for thing in dependents:
            mine: dict[str, OwnerState] = {}
            for owner in thing.owners:
                # Things of one namespace that name the same owner share one read.
                shared = (thing.key.rpartition("/")[0], owner.api_version, owner.kind, owner.name, owner.uid)
                if shared not in states:
                    states[shared] = await self._port.owner_state(thing, owner)
                mine[owner.uid] = states[shared]
            await self._do(decide_dependent(thing, mine, has_dependents=graph.has_dependents(thing)))
        for owner_thing in owners:
            await self._do(decide_owner(owner_thing, await self._port.dependents(owner_thing)))

    async def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Remove(thing, policy):
                    await self._port.remove(thing, policy)
                    _LOG.info("garbage removed", extra={"object": thing.key, "uid": thing.uid, "policy": str(policy)})
                case DropReferences(thing, uids):
                    await self._port.drop_references(thing, uids)
                case DropFinalizer(thing, finalizer):
                    await self._port.drop_finalizer(thing, finalizer)
