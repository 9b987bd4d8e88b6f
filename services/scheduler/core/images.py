"""Which container images are on which node: the inverse of the nodes' image lists, shared by name until it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.scheduler.core.arrays import Ints

Sizes = Mapping[int, int]
"""Row → bytes."""

_NOWHERE: Sizes = {}


def normalized(image: str) -> str:
    """The name as a node lists it: ``:latest`` where there is no tag (kubernetes plugins/imagelocality)."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


@dataclass(frozen=True)
class FrozenImages:
    """The images of every row at one moment."""

    _by_name: Mapping[str, Sizes]

    def sizes(self, image: str) -> Sizes:
        """Rows that have ``image`` (a normalised name), each with its size there."""
        return self._by_name.get(image, _NOWHERE)

    def add_sizes(self, image: str, scale: int, total: Ints) -> None:
        """Add to ``total`` each row's size of ``image``, times its spread over ``scale`` nodes, rounded down."""
        found = self.sizes(image)
        if not found or not scale:
            return
        rows = np.fromiter(found.keys(), dtype=np.int64, count=len(found))
        sizes = np.fromiter(found.values(), dtype=np.float64, count=len(found))
        total[rows] += (sizes * (len(found) / scale)).astype(np.int64)


@dataclass
class ImageIndex:
    """The live index. A name's rows are copied when they change after a freeze, so that freezing costs little."""

    _by_name: dict[str, dict[int, int]] = field(default_factory=dict)
    _own: set[str] = field(default_factory=set)

    def replace(self, row: int, old: Mapping[str, int], new: Mapping[str, int]) -> None:
        """``row`` had the images ``old`` and has ``new``: normalised name → bytes."""
        if old == new:
            return
        for name in old.keys() - new.keys():
            rows = self._writable(name)
            del rows[row]
            if not rows:
                del self._by_name[name]
                self._own.discard(name)
        for name, size in new.items():
            if old.get(name) != size:
                self._writable(name)[row] = size

    def freeze(self) -> FrozenImages:
        """What is known now; later changes do not reach it."""
        self._own.clear()
        return FrozenImages(self._by_name.copy())

    def _writable(self, name: str) -> dict[int, int]:
        if name not in self._own:
            self._by_name[name] = dict(self._by_name.get(name, _NOWHERE))
            self._own.add(name)
        return self._by_name[name]
