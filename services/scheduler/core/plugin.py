"""The shapes a plug-in can have. One plug-in is one file; a profile lists the plug-ins and the weights of the scores.

A plug-in is stateless and pure: arrays in, arrays out. It answers for one scheduling class and *all* nodes at once, and
returns ``None`` when it has nothing to say about the class (it is then skipped: kube-scheduler's PreFilter Skip).

The shapes differ in what the answer depends on, because that decides when it must be asked again:

=============  ==========================================  ==============================================
shape          depends on                                  asked
=============  ==========================================  ==============================================
NodeFilter     the Node objects                            once per class and change of a Node
UsageFilter    and on what is placed on that same node     for each node, with 0, 1, 2… more pods of the class
DomainFilter   and on what is placed on other nodes        once per class and plan; told of each placement
NodeScore      the Node objects; normalised over the       once per class and change of a Node; normalised again
               feasible nodes                              when the best raw value is no longer feasible
UsageScore     and on what is placed on that same node     for each node, with 0, 1, 2… more pods of the class
DomainScore    and on what is placed on other nodes;       once per class and plan; told of each placement
               normalised over the feasible nodes
=============  ==========================================  ==============================================

The domain shapes see other nodes only through *topology keys*: labels whose equal values make nodes one domain (a zone,
a host). Nodes that agree in every key that some plug-in uses for a class form a *group*, and a domain plug-in gives one
answer per group: arrays of shape (groups,) instead of (rows,). What it remembers while pods of the class are placed is
a ``DomainMask`` or ``DomainPoints``: opened on a plan's working sums, thrown away with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto

from services.scheduler.core.arrays import Bools, Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.topology import Topology
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
    POD_GONE = auto()  # a pod left its node, or its labels changed
    POD_ADDED = auto()  # a pod came to a node, or its labels changed
    NAMESPACE_CHANGED = auto()  # the labels of a namespace changed


@dataclass(frozen=True, slots=True, eq=False)
class PodChange:
    """A pod of class ``kind`` came to a node (``POD_ADDED``) or left it (``POD_GONE``)."""

    kind: PodClass
    what: Cluster


class Normalization(Enum):
    """How raw values become 0…100 (kubernetes plugins/helper/normalize_score.go). NONE: they are that already."""

    NONE = auto()
    BY_MAXIMUM = auto()
    BY_MAXIMUM_REVERSED = auto()


class Filter(ABC):
    """What every filter says about itself."""

    name: str
    # What can help a pod that this filter keeps from every node.
    helped_by: Cluster

    def helps(self, pods: PodClass, change: PodChange) -> bool:
        """That other pod's coming or going may let a pod of class ``pods`` pass here (a queueing hint, KEP-4247)."""
        return bool(change.what & self.helped_by)


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


class DomainMask(ABC):
    """Which groups a class may use, while pods of the class are placed."""

    # True for every group that passes now; shape (groups,); written to by ``place``.
    mask: Bools

    @abstractmethod
    def place(self, group: int) -> Rows | None:
        """A pod of the class was placed in ``group``; the groups whose answer may have changed (``None``: none)."""

    @abstractmethod
    def reasons(self, groups: Ints) -> Counter[str]:
        """Why ``groups`` (one entry per node, repeated as often as it has nodes), which do not pass, do not."""

    @abstractmethod
    def hopeless(self) -> Bools:
        """Groups for which taking pods away cannot help: preemption does not look at them; shape (groups,)."""


class DomainFilter(Filter):
    """Says which groups of nodes a class may use."""

    @abstractmethod
    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        """The keys that tell groups apart for this class; none: the filter has nothing to say."""

    @abstractmethod
    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainMask:
        """The answer as of ``usage``; ``topology`` has at least the keys asked for."""

    def closed(
        self, pods: PodClass, nodes: NodeColumns, usage: Usage, left: Usage, topology: Topology
    ) -> Mapping[str, Bools]:
        """Rows that stay closed when pods leave that row alone, by reason; shape (rows,), no row under two reasons.

        ``left``: its census is that of ``usage`` without every pod that may leave. This only saves looking at the
        rows one by one: a row may be left out although it is closed, never the other way round.
        """
        return {}


class DomainPoints(ABC):
    """How good the groups are for a class, while pods of the class are placed."""

    # 0…100 per group as of the last ``settle``, which writes to it; shape (groups,). Infeasible groups' are not used.
    points: Ints

    @abstractmethod
    def place(self, group: int) -> None:
        """A pod of the class was placed in ``group``."""

    @abstractmethod
    def settle(self, feasible: Bools, nodes: Ints, moved: bool) -> Rows | None:
        """Normalise over the ``feasible`` groups; the groups whose points may have changed (``None``: none).

        ``nodes`` are the feasible nodes of each group. ``moved``: either may differ from the last call, or it is the
        first one.
        """


class DomainScore(ABC):
    """Prefers groups of nodes by what is placed in their domains."""

    name: str

    @abstractmethod
    def topology_keys(self, pods: PodClass, usage: Usage) -> Collection[str]:
        """The keys that tell groups apart for this class; none: the score has nothing to say."""

    @abstractmethod
    def open(self, pods: PodClass, nodes: NodeColumns, usage: Usage, topology: Topology) -> DomainPoints:
        """To be settled before it is used; ``topology`` has at least the keys asked for."""
