"""Node labels as dictionary-encoded columns: a selector is asked once per distinct value, not once per node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.scheduler.core.arrays import Bools, Codes, frozen, grown

# As an index it names the last entry of a table of answers: the one for rows without the label.
ABSENT = -1
# Columns are kept for the label keys that pods have asked about, up to this many; beyond it they are built when needed.
KEPT_COLUMNS_MAX = 512


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """``codes[row]`` is a value's number in ``code_of``, or ``ABSENT``; some numbered values may be on no row."""

    codes: Codes
    code_of: Mapping[str, int]

    def equals(self, values: Iterable[str]) -> Bools:
        """Rows whose value is one of ``values``."""
        known = [self.code_of[value] for value in values if value in self.code_of]
        if len(known) == 1:
            only: Bools = self.codes == known[0]
            return only
        answers = np.zeros(len(self.code_of) + 1, dtype=np.bool_)
        answers[known] = True
        return answers[self.codes]

    def where(self, accepts: Callable[[str | None], bool]) -> Bools:
        """Rows whose value (``None``: the label is absent) is accepted."""
        answers = np.fromiter((accepts(value) for value in self.code_of), dtype=np.bool_, count=len(self.code_of))
        return np.append(answers, accepts(None))[self.codes]


class _Encoder:
    """One growing column."""

    def __init__(self, labels: Sequence[Mapping[str, str]], key: str, size: int) -> None:
        self.code_of: dict[str, int] = {}
        self.codes: Codes = np.full(size, ABSENT, dtype=np.int32)
        for row, of_row in enumerate(labels):
            self.set(row, of_row.get(key))

    def set(self, row: int, value: str | None) -> None:
        if value is None:
            self.codes[row] = ABSENT
            return
        self.codes[row] = self.code_of.setdefault(value, len(self.code_of))


@dataclass(frozen=True)
class FrozenLabels:
    """The labels of every row at one moment."""

    rows: Sequence[Mapping[str, str]]
    _columns: dict[str, LabelColumn]
    _wanted: set[str]

    def column(self, key: str) -> LabelColumn:
        """The column of label ``key``; one that nobody asked for before is built now and kept from then on."""
        known = self._columns.get(key)
        if known is None:
            encoder = _Encoder(self.rows, key, len(self.rows))
            known = self._columns[key] = LabelColumn(frozen(encoder.codes), encoder.code_of)
            if len(self._wanted) < KEPT_COLUMNS_MAX:
                self._wanted.add(key)
        return known


@dataclass
class LabelColumns:
    """The live labels. Only columns that were asked for are encoded, so unique label keys cost nothing."""

    _rows: list[Mapping[str, str]] = field(default_factory=list)
    _encoders: dict[str, _Encoder] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)

    def resize(self, size: int) -> None:
        self._rows.extend({} for _ in range(size - len(self._rows)))
        for encoder in self._encoders.values():
            encoder.codes = grown(encoder.codes, size, ABSENT)

    def set(self, row: int, labels: Mapping[str, str]) -> None:
        self._rows[row] = labels
        for key, encoder in self._encoders.items():
            encoder.set(row, labels.get(key))
            if len(encoder.code_of) > 2 * len(self._rows):
                # Most of its values are on no row any more: names of hosts that are gone.
                self._encoders[key] = _Encoder(self._rows, key, len(self._rows))

    def freeze(self) -> FrozenLabels:
        for key in self._wanted - self._encoders.keys():
            self._encoders[key] = _Encoder(self._rows, key, len(self._rows))
        columns = {
            key: LabelColumn(frozen(encoder.codes.copy()), encoder.code_of) for key, encoder in self._encoders.items()
        }
        return FrozenLabels(tuple(self._rows), columns, self._wanted)
