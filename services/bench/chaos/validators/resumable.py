"""Resumable: a watch that breaks off and resumes tells each change once, in order, none less
than the other watches of the same collection, and ends with what is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from services.bench.chaos.facts import (
    FinalNode,
    FinalPod,
    FinalRead,
    NodeSeen,
    PodSeen,
    Position,
    WatchBegan,
    WatchEnded,
)
from services.bench.chaos.history import History
from services.bench.chaos.validators.violation import Violation

Step: TypeAlias = WatchBegan | WatchEnded | Position | PodSeen | NodeSeen


def resumable(history: History) -> Iterator[Violation]:
    steps: dict[str, list[Step]] = defaultdict(list)
    for fact in history.facts:
        if isinstance(fact, WatchBegan | WatchEnded | Position | PodSeen | NodeSeen):
            steps[fact.watch].append(fact)
    reads = {(one.partition, one.resource): one.resource_version for one in history.of(FinalRead)}
    finals = _finals(history)
    if not steps:
        yield Violation("there was no watch: there is nothing to judge")
    spans: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for name, told in steps.items():
        opening = next((one for one in told if isinstance(one, WatchBegan)), None)
        if opening is None:
            yield Violation(f"{name}: events of a watch that never began")
            continue
        place = (opening.partition, opening.resource)
        replay = _Replay(name, reads.get(place), finals.get(place, {}))
        yield from replay.judge(told)
        spans[place] += replay.spans
    for of_place in spans.values():
        yield from _withheld(of_place)


def _withheld(spans: list[Span]) -> Iterator[Violation]:
    """What one watch of a collection tells, the others that cover its place tell, too."""
    every = {key: pod for span in spans for key, pod in span.told.items()}
    for span in spans:
        for uid, version in every.keys() - span.told.keys():
            if span.after < version <= span.upto:
                text = f"{span.watch}: never told of {uid} @{version}, as another watch did"
                yield Violation(text, every[uid, version])


def _finals(history: History) -> dict[tuple[str, str], dict[str, int]]:
    """UID to resource version of what was there in the end."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for pod in history.of(FinalPod):
        found[(pod.partition, "pods")][pod.uid] = pod.resource_version
    for node in history.of(FinalNode):
        found[(node.node.partition("/")[0], "nodes")][node.uid] = node.resource_version
    return found


@dataclass
class Span:
    """What a watch told without a break in its places: everything ``after`` a position and ``upto`` another one.
    ``told``: (uid, resource version) and the pod's uid, "" for a node."""

    watch: str
    after: int
    upto: int
    told: dict[tuple[str, int], str] = field(default_factory=dict)


class _Replay:
    """One watch from its first opening to its end."""

    def __init__(self, name: str, until: int | None, final: dict[str, int]) -> None:
        self._name = name
        self._until = until
        self._final = final
        self._state: dict[str, int] = {}
        self._listing = False
        self._position = 0
        self._reached = 0
        self.spans: list[Span] = []

    def judge(self, told: list[Step]) -> Iterator[Violation]:
        for step in told:
            match step:
                case WatchBegan(resource_version=None):
                    self._state, self._listing, self._position = {}, True, 0
                case WatchBegan():
                    if step.resource_version != self._position:
                        text = f"resumed from {step.resource_version}, though it stood at {self._position}"
                        yield Violation(f"{self._name}: {text}")
                case Position():
                    yield from self._moved(step)
                case PodSeen() | NodeSeen():
                    yield from self._event(step)
        yield from self._end()

    def _moved(self, step: Position) -> Iterator[Violation]:
        if step.resource_version < self._position:
            yield Violation(f"{self._name}: went back from {self._position} to {step.resource_version}")
        began = self._listing and step.initial_end
        self._listing = self._listing and not step.initial_end
        self._position = max(self._position, step.resource_version)
        if began:
            self.spans.append(Span(self._name, self._position, self._position))
        if not self._listing:
            if self.spans:
                self.spans[-1].upto = self._position
            self._reached = max(self._reached, self._position)

    def _event(self, step: PodSeen | NodeSeen) -> Iterator[Violation]:
        version = step.resource_version
        pod = step.uid if isinstance(step, PodSeen) else ""
        if self._until is not None and version > self._until:
            return  # After the last read.
        if not self._listing and version <= self._position:
            yield Violation(f"{self._name}: {step.event} @{version} came after position {self._position}", pod)
        if not self._listing and self.spans:
            self.spans[-1].told[step.uid, version] = pod
        known = self._state.get(step.uid)
        if known is not None and version <= known:
            yield Violation(f"{self._name}: @{known} and then @{version} of one object", pod)
        if step.event == "deleted":
            if self._state.pop(step.uid, None) is None and not self._listing:
                yield Violation(f"{self._name}: @{version} deletes what it never told of", pod)
        else:
            self._state[step.uid] = version

    def _end(self) -> Iterator[Violation]:
        if self._until is None:
            yield Violation(f"{self._name}: what it watches was never read in the end")
            return
        if self._reached < self._until:
            yield Violation(f"{self._name}: stands at {self._reached}, and never reached {self._until}")
            return
        for uid, version in self._final.items():
            if self._state.get(uid) != version:
                yield Violation(f"{self._name}: has @{self._state.get(uid)} of {uid}, there is @{version}", uid)
        for uid in self._state.keys() - self._final.keys():
            yield Violation(f"{self._name}: still has {uid}, which is not there", uid)
