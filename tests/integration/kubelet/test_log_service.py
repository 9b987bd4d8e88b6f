"""The kubelet's own port: what it says of hollow pods, and of requests that are none."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.kubelet.v1 import kubelet_pb2
from services.base.clock import SystemClock
from services.client import calls
from services.kubelet import logservice
from services.kubelet.logservice import Placed
from services.kubelet.serving import Calls, KubeletServer
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.support.client_world import pod as make_pod


class Hollow:
    """One pod on a hollow node."""

    def placed(self, tenant: str, namespace: str, name: str, uid: str = "") -> Placed | None:
        pod: Pod = make_pod("web", node_name="n1")
        metadata = pod.metadata
        if (tenant, namespace, name) != (metadata.tenant, metadata.namespace, metadata.name):
            return None
        return Placed(pod, pod.status, "n1", None)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (
            kubelet_pb2.ContainerLogsRequest(tenant="acme", namespace="default", pod="web").SerializeToString(),
            grpc.StatusCode.FAILED_PRECONDITION,
            'pod "web" is on hollow node n1: hollow containers have no logs',
        ),
        (
            kubelet_pb2.ContainerLogsRequest(tenant="beta", namespace="default", pod="web").SerializeToString(),
            grpc.StatusCode.NOT_FOUND,
            'pods "web" not found',
        ),
        (
            kubelet_pb2.ContainerLogsRequest(tenant="acme", namespace="default", pod="we/b").SerializeToString(),
            grpc.StatusCode.INVALID_ARGUMENT,
            "pod: may not contain '/'",
        ),
        (
            kubelet_pb2.ContainerLogsRequest(
                tenant="acme", namespace="default", pod="web", since_time=Timestamp(seconds=1 << 60)
            ).SerializeToString(),
            grpc.StatusCode.INVALID_ARGUMENT,
            "since_time: is no time before the year 10000",
        ),
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "request: cannot be read"),
    ],
)
async def test_refusals(request_: bytes, code: grpc.StatusCode, words: str) -> None:
    clock = SystemClock()
    services = {logservice.SERVICE: logservice.handlers(Hollow(), Calls(clock), clock)}
    async with KubeletServer("127.0.0.1:0", services) as server:
        channel = make_channel([f"127.0.0.1:{server.port}"])
        method = channel.unary_stream(f"/{logservice.SERVICE}/ContainerLogs")
        with pytest.raises(StatusError) as refused:
            async for _ in calls.parts(method, request_, 10.0):
                pytest.fail("nothing can be told")
        await channel.close()
    assert refused.value.code is code
    assert words in refused.value.message


async def test_without_listen_nothing_is_served() -> None:
    async with KubeletServer("", {}) as server:
        assert server.port == 0
