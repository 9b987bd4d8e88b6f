"""A GET on the event loop: no thread, no client library."""

from __future__ import annotations

import asyncio

TIMEOUT_S = 10.0
LIMIT_BYTES = 1 << 26


async def fetch(address: str, path: str, *, body: bytes | None = None, timeout_s: float = TIMEOUT_S) -> bytes:
    """The body of a 200 from ``http://<address><path>``; with ``body`` (JSON) it is a POST. Raises ``OSError``."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=LIMIT_BYTES)
            try:
                writer.write(_request(address, path, body))
                answer = await reader.read()
            finally:
                writer.close()
    except TimeoutError as failure:
        raise OSError(f"http://{address}{path}: no answer within {timeout_s} s") from failure
    head, separator, content = answer.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    if not separator or status != [b"200"]:
        raise OSError(
            f"http://{address}{path}: {head.splitlines()[0].decode(errors='replace') if head else 'no answer'}"
        )
    return content


def _request(address: str, path: str, body: bytes | None) -> bytes:
    # HTTP/1.0: an answer ends with its connection, and has no chunks.
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.0\r\nHost: {address}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + (body or b"")
