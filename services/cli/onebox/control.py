"""The supervisor's unix socket: one JSON request per connection, one or more JSON lines in answer."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from services.cli.errors import CliError

Command = Literal["status", "stop", "restart"]


class NotRunning(CliError):
    """No supervisor answers on the socket."""


@dataclass(frozen=True)
class Request:
    """``name`` is the component to restart; ``fresh`` asks for readiness polled now instead of the last known."""

    command: Command
    name: str = ""
    fresh: bool = False


@contextlib.contextmanager
def short_path(path: pathlib.Path) -> Iterator[str]:
    """The same file under a name that fits into a socket address (108 bytes), however deep the directory lies."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: pathlib.Path) -> socket.socket:
    """A listening socket only this user can connect to. Call it only while holding the lock: an old one is replaced."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with short_path(path) as name:
            server.bind(name)
    finally:
        os.umask(previous)
    server.listen(16)
    server.setblocking(False)
    return server


def ask(path: pathlib.Path, request: Request, *, timeout_s: float = 10.0) -> Iterator[Any]:
    """Send ``request`` and yield the answers, parsed. Raises ``NotRunning`` when nobody listens, ``CliError`` for an
    answer that is an error."""
    with _connect(path, timeout_s) as connection:
        connection.sendall(msgspec.json.encode(request) + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                answer = msgspec.json.decode(line)
                if isinstance(answer, dict) and "error" in answer:
                    raise CliError(answer["error"])
                yield answer


def _connect(path: pathlib.Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(path) as name:
            connection.connect(name)
    except OSError as failure:
        connection.close()
        raise NotRunning("the cluster is not running", hint="start it with `ursa up`") from failure
    return connection
