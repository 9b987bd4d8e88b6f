"""Asking a component whether it is ready: one small HTTP GET to its own loopback port."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from urllib.parse import urlsplit

BODY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Readiness:
    """``detail`` says why not: the answer's first line, or that there was none."""

    ready: bool
    detail: str = ""


async def ask(url: str, *, timeout_s: float = 2.0) -> Readiness:
    """GET ``url``: 200 is ready, anything else is not."""
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _get(url)
    except TimeoutError:
        return Readiness(False, "no answer")
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return Readiness(False, "not listening")
    return (
        Readiness(True)
        if status == 200
        else Readiness(False, body.strip().replace("\n", " ")[:200] or f"HTTP {status}")
    )


async def _get(url: str) -> tuple[int, str]:
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        request = f"GET {target.path or '/'} HTTP/1.1\r\nHost: {target.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        status_line = (await reader.readline()).split()
        while (await reader.readline()).strip():
            pass
        body = await reader.read(BODY_BYTES_MAX)
        return int(status_line[1]) if len(status_line) > 1 else 0, body.decode(errors="replace")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
