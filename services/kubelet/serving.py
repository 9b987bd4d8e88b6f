"""What a kubelet process serves itself: one gRPC server at ``listen``, with the services that are given to it.

Nobody is asked who they are: whoever reaches the port may read the logs of every pod here (and disturb hollow nodes),
so it belongs on loopback or on a network of the cluster's own; with ``[tls]`` and its ``client_ca_file`` the server
lets only holders of a client certificate in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.base.clock import Clock
from services.kubelet import metrics
from services.rpc import handlers
from services.rpc.credentials import TlsConfig
from services.rpc.handlers import StreamBehaviour, UnaryBehaviour
from services.rpc.lanes import Budget, Lane
from services.rpc.server import Server
from services.rpc.status import StatusError, bad_field

Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]

STOP_GRACE_S = 0.5
# Short calls, and streams such as a log that is followed, which keep their place for as long as they live.
CALLS_AT_ONCE, STREAMS_AT_ONCE = 64, 256
WAITING_MAX, WAIT_S_MAX, RETRY_AFTER_S = 256, 2.0, 1.0
REQUEST_BYTES_TOGETHER = 16 * 1024 * 1024


class Calls:
    """Makes method handlers: bytes in, bytes out; what a behaviour raises becomes the call's status."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        budget = Budget(REQUEST_BYTES_TOGETHER)
        self._short = _lane("calls", CALLS_AT_ONCE, budget)
        self._long = _lane("streams", STREAMS_AT_ONCE, budget)

    def unary(self, behaviour: UnaryBehaviour) -> Any:
        """One message each way."""
        return handlers.unary(behaviour, translate=_translate, observe=_observe, clock=self._clock, lane=self._short)

    def stream(self, behaviour: StreamBehaviour) -> Any:
        """One message in, any number out, which the behaviour writes to the context."""
        return handlers.server_stream(
            behaviour, translate=_translate, observe=_observe, clock=self._clock, lane=self._long
        )


class KubeletServer:
    """``async with``: served inside the block, at ``port`` (0 without ``listen``). ``services``: handlers by method
    name, by service name. Entering raises ``OSError`` when the address is taken."""

    def __init__(self, listen: str, services: Mapping[str, Handlers], tls: TlsConfig | None = None) -> None:
        self.port = 0
        self._server = Server(listen, tls=tls) if listen else None
        self._services = services

    async def __aenter__(self) -> KubeletServer:
        if self._server is not None:
            for name, methods in self._services.items():
                self._server.add(name, methods)
            await self._server.start()
            await self._server.set_ready(True)
            self.port = self._server.port
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.stop(STOP_GRACE_S)


def _lane(name: str, at_once: int, budget: Budget) -> Lane:
    return Lane(
        name,
        at_once_max=at_once,
        waiting_max=WAITING_MAX,
        wait_s_max=WAIT_S_MAX,
        retry_after_s=RETRY_AFTER_S,
        budget=budget,
    )


def _observe(code: str, _seconds: float) -> None:
    metrics.SERVED.labels(code).inc()


def _translate(failure: Exception) -> StatusError | None:
    return bad_field("request", f"cannot be read: {failure}") if isinstance(failure, DecodeError) else None
