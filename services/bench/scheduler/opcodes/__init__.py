"""The operations of a workload file, one file each. ``read`` makes one of its mapping; ``operation`` says the rest."""

from __future__ import annotations

from services.bench.scheduler.errors import FileError, NotSupported
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.barrier import Barrier
from services.bench.scheduler.opcodes.churn import Churn
from services.bench.scheduler.opcodes.collecting import StartCollectingMetrics, StopCollectingMetrics
from services.bench.scheduler.opcodes.create_any import CreateAny
from services.bench.scheduler.opcodes.create_namespaces import CreateNamespaces
from services.bench.scheduler.opcodes.create_nodes import CreateNodes
from services.bench.scheduler.opcodes.create_pod_sets import CreatePodSets
from services.bench.scheduler.opcodes.create_pods import CreatePods
from services.bench.scheduler.opcodes.delete_pods import DeletePods
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.opcodes.sleep import Sleep
from services.bench.scheduler.opcodes.update_any import UpdateAny

__all__ = ["Operation", "read"]

_OPERATIONS: dict[str, type[Operation]] = {
    "createNodes": CreateNodes,
    "createNamespaces": CreateNamespaces,
    "createPods": CreatePods,
    "createPodSets": CreatePodSets,
    "deletePods": DeletePods,
    "churn": Churn,
    "barrier": Barrier,
    "sleep": Sleep,
    "startCollectingMetrics": StartCollectingMetrics,
    "stopCollectingMetrics": StopCollectingMetrics,
    "createAny": CreateAny,
    "updateAny": UpdateAny,
}
_UNSUPPORTED = {
    "allocResourceClaims": "dynamic resource allocation",
    "createResourceClaims": "dynamic resource allocation",
    "createResourceDriver": "dynamic resource allocation",
    "createPodGroups": "pod groups",
    "waitForPodGroups": "pod groups",
    "startCollectingProfile": "Go profiles",
    "stopCollectingProfile": "Go profiles",
}


def read(fields: Fields) -> Operation:
    """The operation of a mapping. Raises ``FileError``; ``NotSupported`` for an opcode of something Ursa lacks."""
    opcode = fields.text("opcode")
    if opcode in _UNSUPPORTED:
        raise NotSupported(f"{opcode}: Ursa has no {_UNSUPPORTED[opcode]}")
    if opcode not in _OPERATIONS:
        raise FileError(f"{fields.where}: unknown opcode {opcode!r}")
    operation = _OPERATIONS[opcode].read(fields)
    fields.done()
    return operation
