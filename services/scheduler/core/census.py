"""Who is where: how many pods of each class are on each row, and the sums that relations ask for, kept up to date.

A relation that was asked about once is answered from then on in the time of looking it up: each placement changes the
sums it concerns, and classes that came since are looked at when the relation is next asked about, in the few sources
where they can be. Relations that nobody has asked about for a while are dropped and made anew from the pods per row.

A ``CensusView`` is the census at one moment, with a small census of what a plan has placed since on top. It reads the
live one until that changes; only a view that is still held by then makes it copy itself.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.scheduler.core.class_index import ClassIndex
from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Relation
from services.scheduler.core.selectors import Labels
from services.scheduler.core.terms import Namespaces, Role, Term

Sums = npt.NDArray[np.int32]

# What the kept sums may take: about 6,000 relations with 5,000 nodes, 600 with 50,000.
KEPT_BYTES_MAX = 128 << 20
KEPT_RELATIONS_MAX = 8_192
SUM_BYTES = 4
# Up to this many rows are quicker to add one by one.
FEW = 8


@dataclass(eq=False)
class _Record:
    """The pods of one class: row → pods, and the kept relations in which they have a number."""

    rows: dict[int, int] = field(default_factory=dict)
    counts_for: dict[_Kept, int] = field(default_factory=dict)


@dataclass(eq=False)
class _Kept:
    """A relation's sums; ``lent`` ones may be in the hands of a view and are copied before they are written to."""

    sums: Sums | None = None
    lent: bool = False
    seen: int = 0
    records: set[_Record] = field(default_factory=set)

    def writable(self, size: int) -> Sums:
        if self.sums is None:
            self.sums = np.zeros(size, dtype=np.int32)
        elif self.lent:
            self.sums = self.sums.copy()
        self.lent = False
        return self.sums


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
        for kept, number in record.counts_for.items():
            # Equal types take NumPy's fast way.
            np.add.at(kept.writable(self.size), rows, np.int32(number * times))
        if not on_row:
            self._drop(kind, record)

    def sums(self, relation: Relation, namespaces: Namespaces | None = None) -> Sums | None:
        """The sum per row, not to be written to; ``None`` if no class has ever had a number.

        ``namespaces`` are these, instead of the census' own.
        """
        kept = self._kept.get(relation)
        if kept is None:
            kept = self._kept[relation] = _Kept()
        else:
            self._kept.move_to_end(relation)
        if kept.seen != self._index.arrivals:
            for kind in self._index.since(relation.sources, kept.seen):
                self._count(kind, relation, kept, self._namespaces if namespaces is None else namespaces)
            kept.seen = self._index.arrivals
        kept.lent = True
        self._limit()
        return kept.sums

    def sought(self, pods: PodClass, namespaces: Namespaces | None = None) -> set[tuple[Role, Term]]:
        """The terms of placed pods that a pod of ``pods`` matches; ``namespaces`` as in ``sums``."""
        return self._index.sought(pods, self._namespaces if namespaces is None else namespaces)

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

    def twin(self) -> Census:
        """A census of its own with the same pods."""
        twin = Census()
        twin.size = self.size
        twin._records = {kind: _Record(record.rows.copy()) for kind, record in self._records.items()}
        twin._index = self._index.copy()
        twin._namespaces = self._namespaces.copy()
        return twin

    def _count(self, kind: PodClass, relation: Relation, kept: _Kept, namespaces: Namespaces) -> None:
        record = self._records[kind]
        if kept in record.counts_for:
            return
        number = relation.number(kind, namespaces)
        if not number:
            return
        record.counts_for[kept] = number
        kept.records.add(record)
        if kept.sums is None:
            self._kept_bytes += SUM_BYTES * self.size
        sums = kept.writable(self.size)
        if len(record.rows) < FEW:
            for row, times in record.rows.items():
                sums[row] += times * number
            return
        rows = np.fromiter(record.rows, dtype=np.int64, count=len(record.rows))
        pods = np.fromiter(record.rows.values(), dtype=np.int32, count=len(record.rows))
        sums[rows] += pods * number

    def _limit(self) -> None:
        while len(self._kept) > 1 and (self._kept_bytes > KEPT_BYTES_MAX or len(self._kept) > KEPT_RELATIONS_MAX):
            _, kept = self._kept.popitem(last=False)
            if kept.sums is not None:
                self._kept_bytes -= SUM_BYTES * self.size
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
        if self._moment is None:
            return
        moment = self._moment()
        self._moment = None
        if moment is not None:
            moment.census = self.twin()


@dataclass(eq=False)
class _Moment:
    """What all views of one moment share: the live census, or a copy once that has moved on."""

    census: Census


class CensusView:
    """A moment of the census, and the pods that were placed or taken away on top of it."""

    def __init__(self, moment: _Moment, changes: Census | None = None) -> None:
        self._moment = moment
        self._changes = changes

    @property
    def namespaces(self) -> Namespaces:
        return self._moment.census.namespaces

    def add(self, kind: PodClass, rows: Sequence[int], times: int = 1) -> None:
        """Count ``times`` pods of class ``kind`` on each of ``rows`` (which may repeat)."""
        if self._changes is None:
            self._changes = Census()
            self._changes.size = self._moment.census.size
        self._changes.add(kind, rows, times)

    def sums(self, relation: Relation) -> Sums | None:
        """As ``Census.sums``."""
        census = self._moment.census
        before = census.sums(relation)
        changes = None if self._changes is None else self._changes.sums(relation, census.namespaces)
        if before is None or changes is None:
            return changes if before is None else before
        return before + changes

    def sought(self, pods: PodClass) -> set[tuple[Role, Term]]:
        """As ``Census.sought``: of pods that are placed, or were and have been taken away here."""
        census = self._moment.census
        terms = census.sought(pods)
        return terms if self._changes is None else terms | self._changes.sought(pods, census.namespaces)

    def rows(self) -> Iterator[tuple[PodClass, Mapping[int, int]]]:
        """As ``Census.rows``, without the changes on top of it."""
        return self._moment.census.rows()

    def view(self) -> CensusView:
        """A view of the same moment, with the same changes so far."""
        return CensusView(self._moment, None if self._changes is None else self._changes.twin())
