"""The process endpoint answers metrics, liveness and readiness, and refuses what it does not know."""

from __future__ import annotations

import asyncio
import json

from prometheus_client import Counter

from services.base.http import ProcessEndpoint

PROBED = Counter("ursa_test_probed_total", "Incremented by a test.")


async def fetch(port: int, request: bytes) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return head.split("\r\n")[0].split(" ", 1)[1], body


async def test_readiness_follows_the_checks() -> None:
    checks = {"etcd": True, "cache": False}
    async with ProcessEndpoint("127.0.0.1:0", lambda: checks) as endpoint:
        status, body = await fetch(endpoint.port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert (status, json.loads(body)) == ("503 Service Unavailable", checks)
        checks["cache"] = True
        status, _ = await fetch(endpoint.port, b"GET /readyz?verbose HTTP/1.1\r\n\r\n")
        assert status == "200 OK"


async def test_metrics_and_health_are_served_and_other_requests_refused() -> None:
    PROBED.inc(3)
    async with ProcessEndpoint("127.0.0.1:0", dict) as endpoint:
        status, body = await fetch(endpoint.port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert status == "200 OK" and "ursa_test_probed_total 3.0" in body
        assert await fetch(endpoint.port, b"GET /healthz HTTP/1.1\r\n\r\n") == ("200 OK", "ok\n")
        assert (await fetch(endpoint.port, b"GET /other HTTP/1.1\r\n\r\n"))[0] == "404 Not Found"
        assert (await fetch(endpoint.port, b"POST /metrics HTTP/1.1\r\n\r\n"))[0] == "405 Method Not Allowed"


async def test_an_endless_request_head_gets_no_answer() -> None:
    async with ProcessEndpoint("127.0.0.1:0", dict) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET /" + b"a" * 20_000)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert answer == b""
        writer.close()
