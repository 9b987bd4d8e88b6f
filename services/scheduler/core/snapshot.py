"""What a plan is made on: the nodes and what is placed on them, at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Frozen: nothing that happens to the table afterwards changes it."""

    nodes: NodeColumns
    usage: Usage
