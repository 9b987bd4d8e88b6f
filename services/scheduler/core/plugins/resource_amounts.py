"""What the scores over resources share: the resources they look at, and how much of each would be taken.

Source: kubernetes plugins/noderesources/resource_allocation.go.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.scheduler.core.arrays import Ints, Rows
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.pods import PodClass
from services.scheduler.core.usage import SCORED_RESOURCES, Usage

# Every node is scored for these, whether or not the pod asks for them; any other resource only if it does.
NATIVE = frozenset((*SCORED_RESOURCES, "ephemeral-storage"))


class Resource(NamedTuple):
    """A resource that counts in a score, and how much."""

    name: str
    weight: int = 1


DEFAULT_RESOURCES = (Resource("cpu"), Resource("memory"))


class Amounts(NamedTuple):
    """``allocatable`` has shape (rows,), 0 on nodes without the resource; ``wanted`` broadcast(extra, rows)."""

    allocatable: Ints
    wanted: Ints


def amounts(
    resource: str, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int
) -> Amounts | None:
    """What is taken of ``resource`` with one more pod after ``extra``; ``None``: it is passed over for this class.

    A container that asks for no cpu or no memory counts 100m or 200Mi.
    """
    if resource not in SCORED_RESOURCES:
        return requested_amounts(resource, pods, nodes, usage, rows, extra)
    index = SCORED_RESOURCES.index(resource)
    allocatable = nodes.allocatable[nodes.resources[resource]][rows]
    return Amounts(allocatable, usage.scoring[index][rows] + pods.scoring_requests[index] * (np.asarray(extra) + 1))


def requested_amounts(
    resource: str, pods: PodClass, nodes: NodeColumns, usage: Usage, rows: Rows, extra: Ints | int
) -> Amounts | None:
    """The same of what is really asked for."""
    index = nodes.resources.get(resource)
    amount = pods.requests.get(resource, 0)
    if index is None or (resource not in NATIVE and not amount):
        return None
    return Amounts(nodes.allocatable[index][rows], usage.requested[index][rows] + amount * (np.asarray(extra) + 1))
