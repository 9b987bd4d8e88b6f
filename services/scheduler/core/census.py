"""Who is where: how many pods of each class are on each row, and the sums that relations ask for, kept up to date.

A relation that was asked about once is answered from then on in the time of looking it up: each placement changes the
sums it concerns, and classes that came since are looked at when the relation is next asked about, in the few sources
where they can be. Relations that nobody has asked about for a while are dropped and made anew from the pods per row.

A ``CensusView`` is the census at one moment, with what a plan has placed since on top. It reads the live census until
that changes; only a view that is still held by then makes it copy itself.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Relation, Slot, Source, places_of
from services.scheduler.core.selectors import Labels
from services.scheduler.core.terms import Namespaces

Sums = npt.NDArray[np.int32]

# What the kept sums may take: about 6,000 slots with 5,000 nodes, 600 with 50,000.
KEPT_BYTES_MAX = 128 << 20
KEPT_RELATIONS_MAX = 8_192
SUM_BYTES = 4


class ClassIndex:
    """Classes by the sources in which they are found, each with the number of its arrival."""

    def __init__(self) -> None:
        self.arrivals = 0
        self._found: dict[Source, dict[PodClass, int]] = {}

    def add(self, kind: PodClass) -> None:
        self.arrivals += 1
        for place in places_of(kind):
            self._found.setdefault(place, {})[kind] = self.arrivals

    def discard(self, kind: PodClass) -> None:
        for place in places_of(kind):
            found = self._found.get(place, {})
            found.pop(kind, None)
            if not found:
                self._found.pop(place, None)

    def since(self, sources: Iterable[Source], arrivals: int) -> Iterator[PodClass]:
        """Classes of ``sources`` that came after the first ``arrivals``; one may come twice."""
        for source in sources:
            found = self._found.get(source)
            if not found:
                continue
            for kind, arrival in reversed(found.items()):
                if arrival <= arrivals:
                    break
                yield kind

    def copy(self) -> ClassIndex:
        twin = ClassIndex()
        twin.arrivals = self.arrivals
        twin._found = {source: found.copy() for source, found in self._found.items()}
        return twin


@dataclass(eq=False)
class _Record:
    """The pods of one class: row → pods, and the kept relations that they count for."""

    rows: dict[int, int] = field(default_factory=dict)
    counts_for: dict[_Kept, Mapping[Slot, int]] = field(default_factory=dict)


@dataclass(eq=False)
class _Kept:
    """A relation's sums. ``lent`` slots may be in the hands of a view: they are copied before they are written to."""

    sums: dict[Slot, Sums] = field(default_factory=dict)
    lent: set[Slot] = field(default_factory=set)
    seen: int = 0
    records: set[_Record] = field(default_factory=set)

    def writable(self, slot: Slot, size: int) -> Sums:
        sums = self.sums.get(slot)
        if sums is None:
            sums = self.sums[slot] = np.zeros(size, dtype=np.int32)
        elif slot in self.lent:
            sums = self.sums[slot] = sums.copy()
            self.lent.discard(slot)
        return sums


class Census:
    """The live counts. One owner writes; plans read through ``view``."""

    def __init__(self) -> None:
        self.size = 0
        self._records: dict[PodClass, _Record] = {}
        self._index = ClassIndex()
        self._kept: OrderedDict[Relation, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._namespaces: dict[tuple[str, str], Labels] = {}
        self._moment: weakref.ref[_Moment] | None = None

    @property
    def namespaces(self) -> Namespaces:
        return self._namespaces

    def set_namespace(self, tenant: str, name: str, labels: Labels | None) -> bool:
        """The labels of a namespace (``None``: it is gone); true if that changes anything."""
        if self._namespaces.get((tenant, name), {}) == (labels or {}):
            return False
        self._part()
        if labels:
            self._namespaces[(tenant, name)] = dict(labels)
        else:
            self._namespaces.pop((tenant, name), None)
        self._forget_sums()
        return True

    def resize(self, size: int) -> None:
        """Make room for ``size`` rows."""
        if size > self.size:
            self._part()
            self.size = size
            self._forget_sums()

    def add(self, kind: PodClass, rows: Sequence[int], times: int = 1) -> None:
        """Count ``times`` pods of class ``kind`` on each of ``rows`` (which may repeat)."""
        if not rows:
            return
        self._part()
        record = self._records.get(kind)
        if record is None:
            record = self._records[kind] = _Record()
            self._index.add(kind)
        on_row = record.rows
        for row in rows:
            pods = on_row.get(row, 0) + times
            if pods:
                on_row[row] = pods
            else:
                del on_row[row]
        for kept, numbers in record.counts_for.items():
            for slot, number in numbers.items():
                np.add.at(kept.writable(slot, self.size), rows, number * times)
        if not on_row:
            self._drop(kind, record)

    def sums(self, relation: Relation) -> Mapping[Slot, Sums]:
        """The sums per row of every slot that some class has a number for; not to be written to."""
        kept = self._kept.get(relation)
        if kept is None:
            kept = self._kept[relation] = _Kept()
        else:
            self._kept.move_to_end(relation)
        if kept.seen != self._index.arrivals:
            for kind in self._index.since(relation.sources, kept.seen):
                self._count(kind, relation, kept)
            kept.seen = self._index.arrivals
        # A copy, since later arrivals may add slots.
        result = dict(kept.sums)
        kept.lent.update(result)
        self._limit()
        return result

    def rows(self) -> Iterator[tuple[PodClass, Mapping[int, int]]]:
        """Every class with the rows of its pods: row → pods; not to be written to."""
        for kind, record in self._records.items():
            yield kind, record.rows

    def view(self) -> CensusView:
        """The census as it is now; later changes do not reach it."""
        moment = self._moment() if self._moment is not None else None
        if moment is None:
            moment = _Moment(self)
            self._moment = weakref.ref(moment)
        return CensusView(moment)

    def _count(self, kind: PodClass, relation: Relation, kept: _Kept) -> None:
        record = self._records[kind]
        if kept in record.counts_for:
            return
        numbers = relation.numbers(kind, self._namespaces)
        if not numbers:
            return
        record.counts_for[kept] = numbers
        kept.records.add(record)
        rows = np.fromiter(record.rows, dtype=np.int64, count=len(record.rows))
        pods = np.fromiter(record.rows.values(), dtype=np.int32, count=len(record.rows))
        for slot, number in numbers.items():
            if slot not in kept.sums:
                self._kept_bytes += SUM_BYTES * self.size
            kept.writable(slot, self.size)[rows] += pods * number

    def _limit(self) -> None:
        while len(self._kept) > 1 and (self._kept_bytes > KEPT_BYTES_MAX or len(self._kept) > KEPT_RELATIONS_MAX):
            _, kept = self._kept.popitem(last=False)
            self._kept_bytes -= SUM_BYTES * self.size * len(kept.sums)
            for record in kept.records:
                del record.counts_for[kept]

    def _forget_sums(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        for record in self._records.values():
            record.counts_for.clear()

    def _drop(self, kind: PodClass, record: _Record) -> None:
        for kept in record.counts_for:
            kept.records.discard(record)
        del self._records[kind]
        self._index.discard(kind)

    def _part(self) -> None:
        """Something is about to change: who still holds a view of this moment keeps a copy."""
        moment = self._moment() if self._moment is not None else None
        self._moment = None
        if moment is not None:
            moment.census = self._twin()

    def _twin(self) -> Census:
        twin = Census()
        twin.size = self.size
        twin._records = {kind: _Record(record.rows.copy()) for kind, record in self._records.items()}
        twin._index = self._index.copy()
        twin._namespaces = self._namespaces.copy()
        return twin


@dataclass(eq=False)
class _Moment:
    """What all views of one moment share: the live census, or a copy once that has moved on."""

    census: Census


class CensusView:
    """A moment of the census, and the pods that were placed or taken away on top of it."""

    def __init__(self, moment: _Moment) -> None:
        self._moment = moment
        self._changes: dict[PodClass, tuple[list[int], list[int]]] = {}
        self._index = ClassIndex()

    @property
    def namespaces(self) -> Namespaces:
        return self._moment.census.namespaces

    def add(self, kind: PodClass, rows: Sequence[int], times: int = 1) -> None:
        """Count ``times`` pods of class ``kind`` on each of ``rows`` (which may repeat)."""
        change = self._changes.get(kind)
        if change is None:
            change = self._changes[kind] = ([], [])
            self._index.add(kind)
        change[0].extend(rows)
        change[1].extend([times] * len(rows))

    def sums(self, relation: Relation) -> Mapping[Slot, Sums]:
        """As ``Census.sums``."""
        census = self._moment.census
        sums = dict(census.sums(relation))
        own: set[Slot] = set()
        for kind in set(self._index.since(relation.sources, 0)) if self._changes else ():
            rows, times = self._changes[kind]
            for slot, number in relation.numbers(kind, census.namespaces).items():
                if slot not in own:
                    before = sums.get(slot)
                    sums[slot] = np.zeros(census.size, dtype=np.int32) if before is None else before.copy()
                    own.add(slot)
                np.add.at(sums[slot], rows, np.multiply(times, number))
        return sums

    def copy(self) -> CensusView:
        twin = CensusView(self._moment)
        twin._changes = {kind: (rows.copy(), times.copy()) for kind, (rows, times) in self._changes.items()}
        twin._index = self._index.copy()
        return twin

    def rows(self) -> Iterator[tuple[PodClass, Mapping[int, int]]]:
        """As ``Census.rows``, without the changes on top of it."""
        return self._moment.census.rows()

    def view(self) -> CensusView:
        """A view of the same moment and changes."""
        return self.copy()
