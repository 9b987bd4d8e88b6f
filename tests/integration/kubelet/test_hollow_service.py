"""``ursa.kubelet.v1.HollowNodes`` over a real port: what is asked reaches the host's nodes, and mistakes are told."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.api.pb.ursa.kubelet.v1 import hollow_pb2
from services.base.clock import SystemClock
from services.kubelet import hollowservice
from services.kubelet.serving import Calls, KubeletServer
from services.rpc.channel import make_channel
from services.rpc.status import from_rpc_error
from tests.support.kubelet_world import KubeletWorld


async def call(port: int, method: str, request: Any, answer: Any) -> Any:
    async with make_channel([f"127.0.0.1:{port}"], None) as channel:
        invoke = channel.unary_unary(
            f"/{hollowservice.SERVICE}/{method}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return await invoke(request, timeout=10)


async def test_nodes_are_disturbed_and_restored_over_the_wire() -> None:
    world = KubeletWorld(nodes=20)
    async with world.running() as host:
        services = {hollowservice.SERVICE: hollowservice.handlers(host.disturber, Calls(SystemClock()))}
        async with KubeletServer("127.0.0.1:0", services) as server:
            request = hollow_pb2.DisturbRequest(kind=hollow_pb2.CUT, share=0.25, seed=5)
            struck = list((await call(server.port, "Disturb", request, hollow_pb2.DisturbResponse)).nodes)
            assert struck == sorted(machine.name for machine in host.nodes if machine.cut)
            assert len(struck) == 5
            some = hollow_pb2.RestoreRequest(nodes=struck[:2])
            assert list((await call(server.port, "Restore", some, hollow_pb2.RestoreResponse)).nodes) == struck[:2]
            rest = await call(server.port, "Restore", hollow_pb2.RestoreRequest(), hollow_pb2.RestoreResponse)
            assert list(rest.nodes) == struck[2:]
            assert not any(machine.trouble for machine in host.nodes)

            for wrong, says in [
                (hollow_pb2.DisturbRequest(share=0.5), "kind: must be DEATH, CUT or CRASH"),
                (hollow_pb2.DisturbRequest(kind=hollow_pb2.DEATH), "share: must be more than 0"),
                (b"\xff", "request: "),
            ]:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(server.port, "Disturb", wrong, hollow_pb2.DisturbResponse)
                error = from_rpc_error(refused.value)
                assert error.code is grpc.StatusCode.INVALID_ARGUMENT
                assert error.message.startswith(says)
            assert not any(machine.trouble for machine in host.nodes)


async def test_a_taken_address_is_an_error() -> None:
    async with KubeletServer("127.0.0.1:0", {}) as first:
        with pytest.raises(OSError, match=r"is the port taken"):
            await KubeletServer(f"127.0.0.1:{first.port}", {}).__aenter__()


async def test_no_address_serves_nothing() -> None:
    async with KubeletServer("", {}) as server:
        assert server.port == 0
