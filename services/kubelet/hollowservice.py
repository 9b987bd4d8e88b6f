"""``ursa.kubelet.v1.HollowNodes``: disturbing a host's hollow nodes from outside, while they run."""

from __future__ import annotations

from services.api.pb.ursa.kubelet.v1 import hollow_pb2
from services.kubelet.disturbances import Disturber
from services.kubelet.machine import Disturbance
from services.kubelet.serving import Calls, Handlers
from services.rpc.handlers import Context
from services.rpc.status import bad_field

SERVICE = "ursa.kubelet.v1.HollowNodes"

_KINDS = {
    hollow_pb2.DEATH: Disturbance.DEATH,
    hollow_pb2.CUT: Disturbance.CUT,
    hollow_pb2.CRASH: Disturbance.CRASH,
}


def handlers(disturber: Disturber, calls: Calls) -> Handlers:
    """By method name."""

    async def disturb(data: bytes, _context: Context) -> bytes:
        request = hollow_pb2.DisturbRequest.FromString(data)
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise bad_field("kind", "must be DEATH, CUT or CRASH")
        names = disturber.disturb(
            kind,
            share=request.share,
            nodes=request.nodes,
            for_s=request.for_seconds,
            seed=request.seed if request.HasField("seed") else None,
            resource_partition=request.resource_partition,
        )
        return hollow_pb2.DisturbResponse(nodes=names).SerializeToString()

    async def restore(data: bytes, _context: Context) -> bytes:
        request = hollow_pb2.RestoreRequest.FromString(data)
        names = disturber.restore(request.nodes, request.resource_partition)
        return hollow_pb2.RestoreResponse(nodes=names).SerializeToString()

    return {"Disturb": calls.unary(disturb), "Restore": calls.unary(restore)}
