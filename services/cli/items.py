"""An object together with where it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.api.kinds import Kind
from services.cli.context import Partition


@dataclass(frozen=True)
class Item:
    """``object`` is the kind's protobuf message."""

    kind: Kind
    object: Any
    partition: Partition

    @property
    def metadata(self) -> Any:
        return self.object.metadata

    @property
    def title(self) -> str:
        """How output names it: ``pod/web``, ``replicaset.apps/web``."""
        return f"{self.kind.qualified}/{self.metadata.name}"
