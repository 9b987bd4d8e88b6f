"""The array types of the core, and columns that grow."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Codes: TypeAlias = npt.NDArray[np.int32]
# Rows are chosen by an index array, or all at once by ``ALL`` (no copy).
Rows: TypeAlias = "Ints | slice"

ALL = slice(None)

Column = TypeVar("Column", bound=np.ndarray[Any, Any])


def grown(column: Column, size: int, fill: int | bool) -> Column:
    """A copy of ``column`` with ``size`` entries along its last axis; the new ones hold ``fill``."""
    wider = np.full((*column.shape[:-1], size), fill, dtype=column.dtype)
    wider[..., : column.shape[-1]] = column
    return wider  # type: ignore[return-value]


def frozen(column: Column) -> Column:
    """``column`` itself, read-only from now on."""
    column.flags.writeable = False
    return column
