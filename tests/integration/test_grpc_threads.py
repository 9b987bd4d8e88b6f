"""What this project sets gRPC to must be what gRPC does (docs/adr/0016): a new version may know the names no more."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

_CALLS = 300

# A server and its client in one process; prints how often gRPC's own threads waited while calls came one by one.
_PROGRAM = f"""
import services
import asyncio, pathlib
import grpc

async def echo(request, context):
    return request

def waits():
    found = 0
    for task in pathlib.Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == "event_engine":
            lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            found += int(lines["voluntary_ctxt_switches"])
    return found

async def main():
    server = grpc.aio.server()
    handlers = {{"Call": grpc.unary_unary_rpc_method_handler(echo)}}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
        call = channel.unary_unary("/echo/Call")
        await call(b"x", wait_for_ready=True)
        before = waits()
        for _ in range({_CALLS}):
            await call(b"x")
        print(waits() - before)
    await server.stop(None)

asyncio.run(main())
"""


def _waits(env: dict[str, str]) -> int:
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "experiment" not in done.stderr, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="needs /proc")
def test_messages_do_not_go_by_the_event_engines_threads() -> None:
    assert _waits({}) < _CALLS / 3
    assert _waits({"GRPC_EXPERIMENTS": "event_engine_client,event_engine_listener"}) > _CALLS, "the operator's word"
