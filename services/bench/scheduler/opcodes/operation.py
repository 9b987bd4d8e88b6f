"""What every operation is: read from a mapping, resolved with a workload's parameters, then run in a world."""

from __future__ import annotations

import abc
import pathlib
from typing import TYPE_CHECKING, ClassVar, Self

from services.bench.scheduler.fields import Fields
from services.bench.scheduler.params import Params

if TYPE_CHECKING:
    from services.bench.scheduler.world import World


class Operation(abc.ABC):
    """Immutable. Counts and durations may be ``$parameters`` until it is resolved."""

    opcode: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def read(cls, fields: Fields) -> Self:
        """Raises ``FileError``, ``NotSupported``."""

    @abc.abstractmethod
    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        """What to run in its place for a workload: itself with its parameters looked up, or several."""

    def check(self) -> None:  # noqa: B027 - most operations need nothing that could be missing
        """Raises ``NotSupported`` when Ursa lacks what it needs, ``FileError`` when a template is wrong."""

    @property
    def measures(self) -> bool:
        """Whether it ends a measuring window."""
        return False

    @abc.abstractmethod
    async def run(self, world: World, index: int) -> None:
        """Carry it out; ``index`` is its place in the resolved workload. Raises ``WorkloadFailed``."""


def own_namespace(namespace: str, index: int) -> str:
    """The given one, or upstream's default for the operation at ``index``."""
    return namespace or f"namespace-{index}"
