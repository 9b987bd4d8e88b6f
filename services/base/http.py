"""A process' own HTTP endpoint: Prometheus metrics, liveness, readiness. HTTP/1.1 GET, one answer per connection.

The event loop serves it, so that no second thread touches the process' objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

REQUEST_LIMIT_BYTES = 8192
READ_TIMEOUT_S = 5.0

ReadyChecks = Callable[[], Mapping[str, bool]]


class ProcessEndpoint:
    """``/metrics``, ``/healthz`` (the event loop turns), ``/readyz`` (200 iff all its checks hold; they are the body).

    ``listen``: ``host:port``; port 0 takes a free one (see ``port``); empty serves nothing.
    """

    def __init__(self, listen: str, ready: ReadyChecks) -> None:
        self._listen = listen
        self._ready = ready
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> ProcessEndpoint:
        if self._listen:
            host, _, port = self._listen.rpartition(":")
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]"), int(port), limit=REQUEST_LIMIT_BYTES
            )
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, content_type, body = self._answer(head)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # A client that sends no request, or too long a one, gets no answer.
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> tuple[str, str, bytes]:
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method != b"GET":
            return "405 Method Not Allowed", "text/plain", b"only GET\n"
        if path == b"/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
        if path == b"/healthz":
            return "200 OK", "text/plain", b"ok\n"
        if path == b"/readyz":
            checks = dict(self._ready())
            status = "200 OK" if all(checks.values()) else "503 Service Unavailable"
            return status, "application/json", json.dumps(checks).encode() + b"\n"
        return "404 Not Found", "text/plain", b"try /metrics, /healthz or /readyz\n"
