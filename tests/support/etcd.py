"""Real etcd for tests, one member or three: start, restart, SIGKILL, silence. Binaries: ``etcd_binaries``."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support import etcd_binaries

PORTS = range(17_000, 17_200)

# Each xdist-like worker or parallel run begins elsewhere; a port that is taken is skipped anyway.
_next_port = itertools.count(os.getpid() * 2 % len(PORTS))


def find_binary() -> str | None:
    """The etcd binary, or None if there is none on this machine."""
    return etcd_binaries.machines_own()


def free_port(ports: range = PORTS) -> int:
    """A port of ``ports`` that nobody listens on now."""
    for _ in ports:
        port = ports[next(_next_port) % len(ports)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {ports}")


class EtcdProcess:
    """One member on fixed ports and a data directory of its own; both survive ``kill`` and ``start``."""

    def __init__(
        self,
        client_port: int = 0,
        peer_port: int = 0,
        *,
        data_dir: pathlib.Path | None = None,
        max_txn_ops: int = 128,
        binary: str | None = None,
        name: str = "test",
        advertised_peer_port: int = 0,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.client_port = client_port or free_port()
        self.peer_port = peer_port or free_port()
        self._advertised_peer_port = advertised_peer_port or self.peer_port
        self._owns_dir = data_dir is None
        self.directory = data_dir or pathlib.Path(tempfile.mkdtemp(prefix="ursa-etcd-"))
        self.name = name
        self.initial_cluster = f"{name}={self.peer_url}"
        self._max_txn_ops = max_txn_ops
        self.binary = binary
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        """Where the others look for it."""
        return f"http://127.0.0.1:{self._advertised_peer_port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait_s: float = 20.0) -> EtcdProcess:
        """Start it and return when it answers as healthy; ``wait_s`` 0: return at once."""
        binary = self.binary or find_binary()
        if binary is None:
            raise RuntimeError("no etcd: put it on PATH or set URSA_ETCD")
        with (self.directory / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(binary), stdout=log, stderr=log)
        if wait_s:
            self.wait_healthy(wait_s)
        return self

    def kill(self) -> None:
        """SIGKILL: what was not on disk is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, an orderly end."""
        self._end(signal.SIGTERM)

    def restart(self) -> EtcdProcess:
        """SIGKILL and start again on the same data."""
        self.kill()
        return self.start()

    def wipe(self) -> None:
        """Forget all data; only while it is not running."""
        assert not self.running
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def pause(self) -> None:
        """SIGSTOP: the connection stays, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete its directory."""
        if self.running:
            self.kill()
        if self._owns_dir:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _command(self, binary: str) -> list[str]:
        client = f"http://127.0.0.1:{self.client_port}"
        return [
            binary,
            f"--name={self.name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls=http://127.0.0.1:{self.peer_port}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.initial_cluster}",
            f"--max-txn-ops={self._max_txn_ops}",
            "--log-level=error",
            "--logger=zap",
            *self._extra,
        ]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def wait_healthy(self, wait_s: float = 20.0) -> None:
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not self.running:
                raise RuntimeError(f"etcd ended at once:\n{self._log_tail()}")
            if self._healthy():
                return
            time.sleep(0.02)
        raise RuntimeError(f"etcd not healthy after {wait_s} s:\n{self._log_tail()}")

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False

    def _log_tail(self) -> str:
        return (self.directory / "etcd.log").read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running_etcd(**options: Any) -> Iterator[EtcdProcess]:
    """``with running_etcd() as etcd:`` – started, and gone without a trace afterwards. Options: ``EtcdProcess``'s."""
    process = EtcdProcess(**options)
    try:
        yield process.start()
    finally:
        process.remove()


@contextlib.contextmanager
def running_cluster(
    members: int = 3, *, peer_ports: Sequence[int] = (), advertised_peer_ports: Sequence[int] = (), **options: Any
) -> Iterator[list[EtcdProcess]]:
    """Members of one cluster, all healthy at first, with an election in well under a second.

    ``advertised_peer_ports``: where each is found by the others, if not on its own port.
    """
    peers, advertised = peer_ports or [0] * members, advertised_peer_ports or [0] * members
    hasty = ("--heartbeat-interval=50", "--election-timeout=500", "--initial-cluster-token=" + os.urandom(4).hex())
    processes = [
        EtcdProcess(0, peer, name=f"m{number}", advertised_peer_port=port, extra=hasty, **options)
        for number, (peer, port) in enumerate(zip(peers, advertised, strict=True))
    ]
    together = ",".join(process.initial_cluster for process in processes)
    try:
        for process in processes:
            process.initial_cluster = together
            process.start(wait_s=0)
        for process in processes:
            process.wait_healthy()
        yield processes
    finally:
        for process in processes:
            process.remove()
