"""The shapes a plug-in can have. One plug-in is one file; a profile lists the plug-ins and the weights of the scores.

A plug-in is stateless and pure: arrays in, arrays out. It answers for one scheduling class and *all* nodes at once, and
returns ``None`` when it has nothing to say about the class (it is then skipped: kube-scheduler's PreFilter Skip).

The shapes differ in what the answer depends on, because that decides when it must be asked again:

=============  ==========================================  ==============================================
shape          depends on                                  asked
=============  ==========================================  ==============================================
NodeFilter     the Node objects                            once per class and change of a Node
UsageFilter    and on what is placed on that same node     for each node, with 0, 1, 2… more pods of the class
NodeScore      the Node objects; normalised over the       once per class and change of a Node; normalised again
               feasible nodes                              when the best raw value is no longer feasible
UsageScore     and on what is placed on that same node     for each node, with 0, 1, 2… more pods of the class
=============  ==========================================  ==============================================

An answer that depends on what is placed on *other* nodes is none of these: it forbids placing from a heap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from enum import Enum, Flag, auto

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import Usage

SCORE_MAX = 100


class Cluster(Flag):
    """Changes in the cluster that can make a node feasible that was not."""

    NOTHING = 0
    NODE_ADDED = auto()
    ALLOCATABLE_GREW = auto()
    LABELS_CHANGED = auto()
    TAINTS_CHANGED = auto()
    NODE_USABLE = auto()  # schedulable, ready or reachable again
    POD_GONE = auto()  # a pod left its node


class Normalization(Enum):
    """How raw values become 0…100 (kubernetes plugins/helper/normalize_score.go)."""

    BY_MAXIMUM = auto()
    BY_MAXIMUM_REVERSED = auto()


class Filter(ABC):
    """What every filter says about itself."""

    name: str
    # What can help a pod that this filter keeps from every node.
    helped_by: Cluster


class NodeFilter(Filter):
    """Says which nodes a class may use, from the Node objects alone."""

    @abstractmethod
    def mask(self, pods: PodClass, nodes: NodeColumns) -> Bools | None:
        """True for every row that passes; shape (rows,)."""

    @abstractmethod
    def reasons(self, pods: PodClass, nodes: NodeColumns, rows: Ints) -> Counter[str]:
        """Why ``rows``, which did not pass, did not: reason → nodes."""


class UsageFilter(Filter):
    """Says which nodes have room for one more pod of a class."""

    @abstractmethod
    def passes(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Bools | None:
        """True where one more pod fits after ``extra`` pods of the class; shape broadcast(extra, rows).

        Must be monotone: what does not pass with ``extra`` does not pass with more.
        """

    @abstractmethod
    def reasons(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Ints) -> Counter[str]:
        """Why ``rows``, which did not pass, did not: reason → nodes (a node may have several)."""


class NodeScore(ABC):
    """Prefers nodes, from the Node objects alone."""

    name: str
    normalization: Normalization

    @abstractmethod
    def raw(self, pods: PodClass, nodes: NodeColumns) -> Ints | None:
        """A value ≥ 0 per row; shape (rows,)."""


class UsageScore(ABC):
    """Prefers nodes by what is placed on them."""

    name: str

    @abstractmethod
    def score(self, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int) -> Ints | None:
        """0…100 for one more pod after ``extra`` pods of the class; shape broadcast(extra, rows)."""
