"""``ursa hollow disturb`` and ``restore``: asking kubelet hosts over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import msgspec

from services.api.pb.ursa.kubelet.v1 import hollow_pb2
from services.cli.errors import PartitionUnreachable, Refused, UsageError
from services.cli.onebox.home import Home
from services.cli.onebox.plan import Component
from services.rpc.channel import make_channel
from services.rpc.status import StatusError, from_rpc_error

SERVICE = "/ursa.kubelet.v1.HollowNodes"
TIMEOUT_S = 10.0


def hosts_of(home: Home) -> list[str]:
    """The addresses of a one-box's hollow hosts. Raises ``UsageError`` when there is none."""
    try:
        components = msgspec.json.decode(home.plan_file.read_bytes(), type=list[Component])
    except (OSError, msgspec.DecodeError):
        components = []
    found = [
        f"127.0.0.1:{component.ports['grpc']}"
        for component in components
        if component.kind == "kubelet" and "grpc" in component.ports
    ]
    if not found:
        raise UsageError(
            f"there is no cluster with hollow nodes at {home.root}",
            hint="give the address that `ursa hollow` said at its start: --at HOST:PORT",
        )
    return found


async def disturb(hosts: Sequence[str], request: hollow_pb2.DisturbRequest) -> list[str]:
    """On every host (a share is one of each host's nodes); the nodes that were struck. Raises ``CliError``."""
    return await _on_all(hosts, "Disturb", request, hollow_pb2.DisturbResponse)


async def restore(hosts: Sequence[str], request: hollow_pb2.RestoreRequest) -> list[str]:
    """On every host; the nodes that are well again. Raises ``CliError``."""
    return await _on_all(hosts, "Restore", request, hollow_pb2.RestoreResponse)


async def _on_all(hosts: Sequence[str], method: str, request: Any, answer: Any) -> list[str]:
    if not request.nodes or len(hosts) == 1:
        answers = await asyncio.gather(*(_call(host, method, request, answer) for host in hosts))
        return sorted(name for one in answers for name in one.nodes)
    found: list[str] = []
    for node in request.nodes:
        alone = type(request)()
        alone.CopyFrom(request)
        alone.nodes[:] = [node]
        found += await _where_it_is(hosts, method, alone, answer)
    return sorted(found)


async def _where_it_is(hosts: Sequence[str], method: str, request: Any, answer: Any) -> list[str]:
    """One node is named, and one of the hosts has it."""
    refusals: list[Refused] = []
    for host in hosts:
        try:
            return [*(await _call(host, method, request, answer)).nodes]
        except Refused as refusal:
            refusals.append(refusal)
    others = [refusal for refusal in refusals if "has no hollow node" not in refusal.message]
    raise [*others, *refusals][0]


async def _call(host: str, method: str, request: Any, answer: Any) -> Any:
    async with make_channel([host], None) as channel:
        call = channel.unary_unary(
            f"{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return await call(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as failure:
            error: StatusError = from_rpc_error(failure)
    if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise PartitionUnreachable(f"no hollow nodes answer at {host}", hint="is the host's --listen address right?")
    raise Refused(f"{host}: {error.message}")
