"""A history: all facts of a run in the order they were written, and what follows from them about each pod. Pure."""

from __future__ import annotations

import pathlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from services.bench.chaos import facts
from services.bench.chaos.facts import AnyFact, Attempted, Created, Deleted, Fault, FinalPod, PodSeen, Ran, Workload

F = TypeVar("F", bound=facts.Fact)

TERMINAL = frozenset({"Succeeded", "Failed"})


@dataclass
class PodLife:
    """Everything that is known of one pod UID; lists are in the order of time."""

    uid: str
    partition: str = ""
    key: str = ""
    workload: str = ""
    created: Created | None = None
    seen: list[PodSeen] = field(default_factory=list)
    asked: list[Deleted | Attempted] = field(default_factory=list)
    runs: list[Ran] = field(default_factory=list)
    final: FinalPod | None = None

    def _first(self, *, node: bool = False, terminal: bool = False, ending: bool = False, gone: bool = False) -> float:
        for one in self.seen:
            if (
                (node and one.node)
                or (terminal and one.phase in TERMINAL)
                or (ending and (one.ending or one.event == "deleted"))
                or (gone and one.event == "deleted")
            ):
                return one.at
        return float("inf")

    @property
    def node(self) -> str:
        """Where it was bound; "" if nowhere."""
        return next((one.node for one in self.seen if one.node), self.final.node if self.final else "")

    @property
    def first_at(self) -> float:
        return min(self.seen[0].at if self.seen else float("inf"), self.created.at if self.created else float("inf"))

    @property
    def bound_at(self) -> float:
        """When it was first seen bound; infinite: never. So with the others."""
        return self._first(node=True)

    @property
    def terminal_at(self) -> float:
        return self._first(terminal=True)

    @property
    def ending_at(self) -> float:
        """When it was first seen to be deleted, gracefully or at once."""
        return self._first(ending=True)

    @property
    def gone_at(self) -> float:
        return self._first(gone=True)

    @property
    def disruption(self) -> str:
        return next((one.disruption for one in self.seen if one.disruption), "")

    def lived_at(self, at: float) -> bool:
        """It was there, had not ended and was not being deleted."""
        return self.first_at <= at < min(self.terminal_at, self.ending_at)

    def latest(self, at: float) -> PodSeen | None:
        """The newest state that anybody had been shown by then (watches may be behind one another)."""
        shown = self.seen[: bisect_right(self.seen, at, key=lambda one: one.at)]
        return max(shown, key=lambda one: (one.resource_version, one.event == "deleted"), default=None)


class History:
    """The facts, indexed. ``path`` is where they came from, for those who look further."""

    def __init__(self, all_facts: Iterable[AnyFact], *, path: str = "") -> None:
        self.facts = list(all_facts)
        self.path = path
        self._of: dict[type[facts.Fact], list[facts.Fact]] = defaultdict(list)
        self.pods: dict[str, PodLife] = {}
        for fact in self.facts:
            self._of[type(fact)].append(fact)
            self._note(fact)
        for life in self.pods.values():
            life.seen.sort(key=lambda one: one.at)
            life.runs.sort(key=lambda one: one.at)

    def of(self, kind: type[F]) -> list[F]:
        """All facts of one kind."""
        return self._of[kind]  # type: ignore[return-value]

    @property
    def begun(self) -> facts.Begun:
        """Raises ``ValueError`` for a history without a beginning."""
        found = self.of(facts.Begun)
        if not found:
            raise ValueError(f"{self.path or 'the history'} has no beginning")
        return found[0]

    @property
    def bounds(self) -> facts.Bounds:
        return self.begun.bounds

    @property
    def faults(self) -> list[Fault]:
        return self.of(Fault)

    def silences(self, node: str) -> Iterator[Fault]:
        """The faults during which this node could reach nobody."""
        return (fault for fault in self.faults if node in fault.silent)

    def workloads(self, at: float) -> dict[tuple[str, str], Workload]:
        """What is wanted at that moment, by partition and name."""
        return {(one.partition, one.name): one for one in self.of(Workload) if one.at <= at}

    def pods_of(self, partition: str, workload: str) -> list[PodLife]:
        return self._by_workload.get((partition, workload), [])

    @property
    def _by_workload(self) -> dict[tuple[str, str], list[PodLife]]:
        cached: dict[tuple[str, str], list[PodLife]] | None = self.__dict__.get("_workloads")
        if cached is None:
            cached = defaultdict(list)
            for life in self.pods.values():
                cached[(life.partition, life.workload)].append(life)
            self.__dict__["_workloads"] = cached
        return cached

    def _life(self, uid: str, partition: str = "", key: str = "", workload: str = "") -> PodLife:
        life = self.pods.setdefault(uid, PodLife(uid))
        life.partition = life.partition or partition
        # A watch tells the whole key, a create only the name.
        life.key = key if key.startswith("/") else life.key or key
        life.workload = life.workload or workload
        return life

    def _note(self, fact: facts.Fact) -> None:
        match fact:
            case PodSeen():
                self._life(fact.uid, fact.partition, fact.key, fact.workload).seen.append(fact)
            case Created(resource="pods"):
                self._life(fact.uid, fact.partition, fact.name, fact.workload).created = fact
            case Deleted():
                self._life(fact.uid, fact.partition).asked.append(fact)
            case Attempted(verb="delete"):
                self._life(fact.uid, fact.partition).asked.append(fact)
            case Ran():
                self._life(fact.uid).runs.append(fact)
            case FinalPod():
                self._life(fact.uid, fact.partition, fact.key, fact.workload).final = fact


def read(path: pathlib.Path) -> History:
    """A history file. Raises ``OSError``, ``msgspec.DecodeError`` for a line that is no fact."""
    decoder = msgspec.json.Decoder(AnyFact)
    with path.open("rb") as lines:
        return History((decoder.decode(line) for line in lines), path=str(path))
