"""Load: many workloads of three sizes, created, scaled, updated and deleted at an even rate of API requests.

The model is Kubernetes' load test (test/e2e/scalability/load.go, clusterloader2 testing/load). A workload is a
ReplicaSet, or pods that the player makes and deletes itself. Each may have a Service with its EndpointSlice; batch jobs
that end by themselves may come beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from services.base.rand import Rand
from services.bench.player import groups
from services.bench.player.groups import Group
from services.bench.player.pacing import Lifetimes, batches, due_s, in_turn
from services.bench.player.requests import Place, Request, Resource, Scenario, Settling, Step, Template, Verb

CREATE, SCALE, UPDATE, DELETE = "create", "scale", "update", "delete"
PAUSE = "pause"


class Workloads(StrEnum):
    """What a workload is."""

    REPLICA_SETS = "replicasets"
    PODS = "pods"


@dataclass(frozen=True)
class LoadParameters:
    """``pods``: in all, before scaling. ``rate``: API requests per second, 0: as fast as they go. ``create_batch``:
    pods per request where the player makes them. ``services``: one with its EndpointSlice for each workload.
    ``short_lived``: so many batch jobs beside, as a share of ``pods``, of ``lifetime_s`` on average."""

    pods: int
    workloads: Workloads = Workloads.REPLICA_SETS
    rate: float = 50.0
    create_batch: int = 1
    services: bool = False
    short_lived: float = 0.0
    lifetime_s: float = 10.0
    hold_s: float = 0.0
    delete: bool = True


def scenario(parameters: LoadParameters, places: tuple[Place, ...], rand: Rand) -> Scenario:
    """The schedule, the same for the same seed."""
    return _Writer(parameters, places, rand).scenario()


class _Writer:
    def __init__(self, parameters: LoadParameters, places: tuple[Place, ...], rand: Rand) -> None:
        self._parameters = parameters
        self._places = places
        self._rand = rand
        found = groups.groups(parameters.pods, rand)
        self._groups = [(group, in_turn(places, number)) for number, group in enumerate(found)]
        # What exists after the step that is being written: pods of each group.
        self._now = {group.name: group.pods for group in found}
        self._jobs = self._drawn_jobs()

    def scenario(self) -> Scenario:
        parameters = self._parameters
        steps = [self._step(CREATE, self._creates()), self._step(SCALE, self._scales())]
        steps.append(self._step(UPDATE, self._updates(), hold_s=parameters.hold_s))
        if parameters.delete:
            requests = list(self._deletes())
            self._now, self._jobs = {}, []
            steps.append(self._step(DELETE, requests))
        return Scenario(self._places, {PAUSE: Template()}, tuple(steps))

    def _step(self, name: str, requests: Iterable[Request], hold_s: float = 0.0) -> Step:
        rate = self._parameters.rate
        due = [
            msgspec.structs.replace(request, at_s=due_s(number, rate), step=name)
            for number, request in enumerate(requests)
        ]
        pods = sum(self._now.values()) + len(self._jobs)
        return Step(name, due, paced=bool(rate), settling=Settling.PODS, pods=pods, hold_s=hold_s)

    def _drawn_jobs(self) -> list[tuple[str, Place, float]]:
        parameters = self._parameters
        lifetimes = Lifetimes(1.0, parameters.lifetime_s, self._rand)
        return [
            (f"job-{number:06d}", in_turn(self._places, number), lifetimes.one_s())
            for number in range(round(parameters.pods * parameters.short_lived))
        ]

    # -- steps

    def _creates(self) -> list[Request]:
        found: list[Request] = []
        for group, place in self._groups:
            if self._parameters.services:
                found.append(_one(Verb.CREATE, Resource.SERVICES, place, group.name))
                found.append(_one(Verb.CREATE, Resource.ENDPOINT_SLICES, place, group.name, group.pods))
            found += self._grown(group, place, 0, group.pods)
        jobs = [
            _pods(Verb.CREATE, place, name, 0, 1, lifetimes_s=(life_s,), template=PAUSE)
            for name, place, life_s in self._jobs
        ]
        return _mixed(found, jobs)

    def _scales(self) -> Iterable[Request]:
        for group, place in self._groups:
            before, after = group.pods, groups.scaled(group.pods, self._rand)
            self._now[group.name] = after
            if after == before:
                continue
            if self._parameters.workloads is Workloads.REPLICA_SETS:
                yield _one(Verb.SCALE, Resource.REPLICA_SETS, place, group.name, after)
            elif after > before:
                yield from self._grown(group, place, before, after - before)
            else:
                yield from self._shrunk(group, place, after, before - after)
            if self._parameters.services:
                yield _one(Verb.SCALE, Resource.ENDPOINT_SLICES, place, group.name, after)

    def _updates(self) -> Iterable[Request]:
        for group, place in self._groups:
            if self._parameters.workloads is Workloads.REPLICA_SETS:
                yield _one(Verb.UPDATE, Resource.REPLICA_SETS, place, group.name)
            else:
                for index in range(self._now[group.name]):
                    yield _pods(Verb.UPDATE, place, group.name, index, 1)

    def _deletes(self) -> Iterable[Request]:
        for group, place in self._groups:
            if self._parameters.workloads is Workloads.REPLICA_SETS:
                yield _one(Verb.DELETE, Resource.REPLICA_SETS, place, group.name)
            else:
                yield from self._shrunk(group, place, 0, self._now[group.name])
            if self._parameters.services:
                yield _one(Verb.DELETE, Resource.ENDPOINT_SLICES, place, group.name)
                yield _one(Verb.DELETE, Resource.SERVICES, place, group.name)
        for name, place, _ in self._jobs:
            yield _pods(Verb.DELETE, place, name, 0, 1)

    def _grown(self, group: Group, place: Place, first: int, count: int) -> Iterable[Request]:
        if self._parameters.workloads is Workloads.REPLICA_SETS:
            yield _one(Verb.CREATE, Resource.REPLICA_SETS, place, group.name, count, template=PAUSE)
            return
        for start, size in batches(count, self._parameters.create_batch, first):
            yield _pods(Verb.CREATE, place, group.name, start, size, template=PAUSE)

    def _shrunk(self, group: Group, place: Place, first: int, count: int) -> Iterable[Request]:
        for start, size in batches(count, self._parameters.create_batch, first):
            yield _pods(Verb.DELETE, place, group.name, start, size)


def _one(verb: Verb, resource: Resource, place: Place, name: str, replicas: int = 0, *, template: str = "") -> Request:
    return Request(0.0, "", verb, resource, place.tenant, place.namespace, name, template, replicas=replicas)


def _pods(
    verb: Verb, place: Place, name: str, first: int, count: int, *,
    lifetimes_s: tuple[float, ...] = (), template: str = "",
) -> Request:  # fmt: skip
    return Request(
        0.0, "", verb, Resource.PODS, place.tenant, place.namespace, name, template, first, count, 0, lifetimes_s
    )


def _mixed(long: list[Request], short: list[Request]) -> list[Request]:
    """``short`` spread evenly among ``long``, each in its order."""
    if not short:
        return long
    placed = [((number + 0.5) / len(long), request) for number, request in enumerate(long)]
    placed += [((number + 0.5) / len(short), request) for number, request in enumerate(short)]
    return [request for _, request in sorted(placed, key=lambda entry: entry[0])]
