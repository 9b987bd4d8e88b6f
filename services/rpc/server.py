"""Servers: one ``Server`` per process, with health and reflection always on.

Services are registered as tables of method handlers whose (de)serializers are the identity: handlers take and give
bytes, so that what is stored in wire form is served without being decoded.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.rpc import jsonnames
from services.rpc.channel import MESSAGE_BYTES_MAX
from services.rpc.credentials import TlsConfig, server_credentials

__all__ = ["Server", "TlsConfig"]

REQUEST_BYTES_MAX = 6 * 1024 * 1024

# grpc.aio accepts one call in each turn of the event loop. Several acceptors share the port, each with the connections
# that the kernel gives it, so that one client's storm is not what another one's call stands behind. Chance may give one
# acceptor both of them, so what must not wait is told apart before it is accepted as well: see ``Server.add``.
ACCEPTORS = 4

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Above the API's own limits, so that a request beyond those is answered by the API, which names the limit.
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # What nobody has asked to read yet stays within 64 kB a call: without this gRPC learns to buffer megabytes.
    ("grpc.http2.bdp_probe", 0),
    # Calls that no acceptor has taken yet. Beyond 1,000 gRPC begins to answer by itself, with a bare CANCELLED; whom to
    # turn away, and when to come back, is for the lanes to say.
    ("grpc.server.max_pending_requests", 4_096),
    ("grpc.server.max_pending_requests_hard_limit", 8_192),
    # For the acceptors of one process. That another process has the port is found out before.
    ("grpc.so_reuseport", 1),
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
        self._servers = [grpc.aio.server(options=SERVER_OPTIONS) for _ in range(ACCEPTORS)]
        self._health = health.aio.HealthServicer()
        self._services: list[str] = []
        self._ready: bool | None = None
        self._tls = tls
        self.port = 0

    def add(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]], urgent: Collection[str] = ()
    ) -> None:
        """Serve ``handlers`` (by method name) as ``service`` ("ursa.core.v1.Pods"). Before ``start`` only.

        ``urgent``: methods whose calls stand behind no other method's until they are accepted. gRPC keeps a line of
        its own for each, and each costs every accepted call 0.7 µs, so let them be few.
        """
        hurried = {name: handler for name, handler in handlers.items() if name in urgent}
        for server in self._servers:
            server.add_registered_method_handlers(service, hurried)
        self._add(grpc.method_handlers_generic_handler(service, dict(handlers)))
        self._services.append(service)

    def _add(self, handler: grpc.GenericRpcHandler) -> None:
        for server in self._servers:
            server.add_generic_rpc_handlers((handler,))

    async def start(self) -> None:
        """Listen. Not ready until ``set_ready`` says so. Raises ``OSError`` when the address is taken."""
        for server in self._servers:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._add_reflection()
        self._check_free()
        try:
            for server in self._servers:
                self.port = self._bind(server, self._listen if not self.port else self._listen_again())
        except RuntimeError as failure:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?") from failure
        if not self.port:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?")
        await self.set_ready(False)
        for server in self._servers:
            await server.start()

    def _bind(self, server: grpc.aio.Server, listen: str) -> int:
        if self._tls is not None and self._tls.cert_file:
            return server.add_secure_port(listen, server_credentials(self._tls))
        return server.add_insecure_port(listen)

    def _listen_again(self) -> str:
        return f"{self._listen.rpartition(':')[0]}:{self.port}"

    def _check_free(self) -> None:
        """Two processes on one port would each get half of the calls: a mistake that must fail. Raises ``OSError``."""
        host, _, port = self._listen.rpartition(":")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as failure:
                raise OSError(f"cannot listen on {self._listen}: is the port taken?") from failure

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
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))

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
            self._add(grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": handler}))
