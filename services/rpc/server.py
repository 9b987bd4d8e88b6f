"""Servers: one ``Server`` per process, with health and reflection always on.

Services are registered as tables of method handlers whose (de)serializers are the identity: handlers take and give
bytes, so that what is stored in wire form is served without being decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.rpc import jsonnames
from services.rpc.channel import MESSAGE_BYTES_MAX
from services.rpc.credentials import TlsConfig, server_credentials

__all__ = ["Server", "TlsConfig"]

REQUEST_BYTES_MAX = 6 * 1024 * 1024

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Above the API's own limits, so that a request beyond those is answered by the API, which names the limit.
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # What nobody has asked to read yet stays within 64 kB a call: without this gRPC learns to buffer megabytes.
    ("grpc.http2.bdp_probe", 0),
    # Two servers on one port would each get half of the calls: a mistake that must fail at start.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it gRPC waits a minute for the answer to a ping, whatever the keepalive says.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


class Server:
    """A gRPC server that can be told whether it is ready. ``listen``: ``host:port``; port 0 takes a free one."""

    def __init__(self, listen: str, *, tls: TlsConfig | None = None) -> None:
        self._listen = listen
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._services: list[str] = []
        self._ready: bool | None = None
        self._tls = tls
        self.port = 0

    def add(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Serve ``handlers`` (by method name) as ``service`` ("ursa.core.v1.Pods"). Before ``start`` only."""
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(handlers)),))
        self._services.append(service)

    async def start(self) -> None:
        """Listen. Not ready until ``set_ready`` says so. Raises ``OSError`` when the address is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._add_reflection()
        try:
            if self._tls is not None and self._tls.cert_file:
                self.port = self._server.add_secure_port(self._listen, server_credentials(self._tls))
            else:
                self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as failure:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?") from failure
        if not self.port:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?")
        await self.set_ready(False)
        await self._server.start()

    async def set_ready(self, ready: bool) -> None:
        """Tell health checks: the service name "" and each service's own."""
        if ready == self._ready:
            return
        self._ready = ready
        value = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, value)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once, cancel those that are still running after ``grace_s``."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    def _add_reflection(self) -> None:
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(names, pool=jsonnames.pool_of(names))
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        # v1 has the messages of v1alpha under another service name; current clients ask for v1 first.
        for service in (REFLECTION_V1, reflection.SERVICE_NAME):
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": handler}),)
            )
