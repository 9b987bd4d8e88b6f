"""One container's keeper: starts the command, pumps its output into the log, ends it when asked, records how it ended.

``python -S shim.py CONTAINER_DIR ATTEMPT`` is a program of its own, of the standard library alone, so that it starts in
a few milliseconds. It needs no kubelet: one that is killed finds it again by ``<n>.json``, the state file, which names
the shim by pid and start time. Files of attempt ``<n>``, all in the container's directory:

- ``<n>.spec``: what to run (JSON, written by the runtime);
- ``<n>.json``: the state, made once (a second shim for the same attempt leaves) and then replaced;
- ``<n>.stop``: seconds of grace, written before the shim gets SIGTERM; repeatable with a shorter grace;
- ``<n>.log``, ``<n>.log.1`` and on: lines as the CRI writes them, ``<RFC 3339 nano> <stream> <P|F> <text>``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_FILES_MAX = 5
# A longer line is written in parts (as containerd does).
LINE_BYTES_MAX = 16 * 1024
READ_BYTES = 64 * 1024
# What descendants have not closed yet is read for so long after the container's end.
DRAIN_S = 1.0
START_ERROR_CODE = 128
SIGNAL_CODE_BASE = 128

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded before any fork: the child between fork and exec must not import or allocate more than it has to.
_LIBC = ctypes.CDLL(None, use_errno=True)


def now_ns() -> int:
    """Nanoseconds since the Unix epoch: a program of its own has its own clock."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def _monotonic_s() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot: with the pid it names one process for good. None: gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold blanks and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Start times are counted from the boot that this names."""
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class CriLog:
    """A log file that is rotated by size: ``path``, then ``path.1`` (newer) to ``path.4`` (older)."""

    def __init__(self, path: pathlib.Path, bytes_max: int = LOG_BYTES_MAX, files_max: int = LOG_FILES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._rest: dict[str, bytes] = {}
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, stream: str, data: bytes) -> None:
        """Take output of ``stream`` (stdout, stderr); lines that are whole are written."""
        data = self._rest.pop(stream, b"") + data
        *lines, rest = data.split(b"\n")
        stamp = timestamp(now_ns())
        entries = [entry for line in lines for entry in _entries(stamp, stream, line, whole=True)]
        while len(rest) >= LINE_BYTES_MAX:
            entries += _entries(stamp, stream, rest[:LINE_BYTES_MAX], whole=False)
            rest = rest[LINE_BYTES_MAX:]
        if rest:
            self._rest[stream] = rest
        self._append(entries)

    def close(self) -> None:
        """Write what had no line end, as parts."""
        stamp = timestamp(now_ns())
        for stream, rest in self._rest.items():
            self._append(list(_entries(stamp, stream, rest, whole=False)))
        self._rest.clear()
        self._file.close()

    def _append(self, entries: list[bytes]) -> None:
        gathered: list[bytes] = []
        size = 0
        for entry in entries:
            if self._size + size and self._size + size + len(entry) > self._bytes_max:
                self._put(gathered, size)
                self._rotate()
                gathered, size = [], 0
            gathered.append(entry)
            size += len(entry)
        self._put(gathered, size)

    def _put(self, entries: list[bytes], size: int) -> None:
        if entries:
            # A full disk costs lines of the log, never the container.
            with contextlib.suppress(OSError):
                self._file.write(b"".join(entries))
            self._size += size

    def _rotate(self) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            for number in range(self._files_max - 1, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    def _numbered(self, number: int) -> pathlib.Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def timestamp(nanoseconds: int) -> bytes:
    """RFC 3339 with nine digits of the second, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z".encode()


def _entries(stamp: bytes, stream: str, line: bytes, *, whole: bool) -> list[bytes]:
    parts = [line[start : start + LINE_BYTES_MAX] for start in range(0, len(line), LINE_BYTES_MAX)] or [b""]
    tags = [b"P"] * (len(parts) - 1) + [b"F" if whole else b"P"]
    name = stream.encode()
    return [b"%b %b %b %b\n" % (stamp, name, tag, part) for tag, part in zip(tags, parts, strict=True)]


class Shim:
    """``spec``: argv, env, cwd, grace_s."""

    def __init__(self, directory: pathlib.Path, attempt: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._spec: dict[str, Any] = json.loads(self._file("spec").read_text())
        self._state: dict[str, Any] = {
            "shim": os.getpid(),
            "shim_ticks": start_ticks(os.getpid()),
            "boot_id": boot_id(),
        }
        self._selector = selectors.DefaultSelector()
        self._child: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None
        self._asked = False

    def _file(self, ending: str) -> pathlib.Path:
        return self._directory / f"{self._attempt}.{ending}"

    def run(self) -> int:
        """Until the container has ended."""
        signals = self._listen_to_signals()
        if not self._own():
            return 0  # Another shim has this attempt.
        if self._file("stop").exists():
            self._finish(SIGNAL_CODE_BASE + signal.SIGTERM, signal.SIGTERM)
            return 0
        log = CriLog(self._file("log"))
        try:
            child = self._child = self._start()
        except OSError as failure:
            log.close()
            where = self._spec["cwd"] if failure.filename == self._spec["cwd"] else self._spec["argv"][0]
            message = f'failed to start: exec: "{where}": {failure.strerror}'
            self._finish(START_ERROR_CODE, 0, reason="StartError", message=message)
            return 0
        self._state |= {"pid": child.pid, "ticks": start_ticks(child.pid), "started_ns": now_ns()}
        self._write_state()
        code = self._pump(child, log, signals)
        log.close()
        self._finish(SIGNAL_CODE_BASE - code if code < 0 else code, max(0, -code))
        return 0

    def _listen_to_signals(self) -> int:
        """The read end of the pipe into which Python writes the number of each signal."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        # Descendants that outlive the command become children of this process, so that none is lost.
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return reader

    def _own(self) -> bool:
        temporary = self._directory / f".{self._attempt}.{os.getpid()}"
        temporary.write_text(json.dumps(self._state))
        try:
            os.link(temporary, self._file("json"))
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _write_state(self) -> None:
        temporary = self._directory / f".{self._attempt}.{os.getpid()}"
        with temporary.open("w") as file:
            json.dump(self._state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file("json"))

    def _start(self) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def prepare() -> None:
            # Without its keeper nobody would learn how the container ends: it ends then.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        return subprocess.Popen(
            self._spec["argv"],
            env=self._spec["env"],
            cwd=self._spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o022,
            preexec_fn=prepare,
        )

    def _pump(self, child: subprocess.Popen[bytes], log: CriLog, signals: int) -> int:
        """Until the command has ended and its output is written; its return code as ``Popen`` has it."""
        assert child.stdout is not None and child.stderr is not None
        streams = {child.stdout.fileno(): "stdout", child.stderr.fileno(): "stderr"}
        for descriptor in streams:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._selector.register(signals, selectors.EVENT_READ)
        if self._file("stop").exists():
            self._stop()
        code: int | None = None
        drain_until = 0.0
        while code is None or (streams and _monotonic_s() < drain_until):
            for key, _ in self._selector.select(self._patience(code, drain_until)):
                if key.fd == signals:
                    self._on_signals(signals)
                else:
                    self._read(key.fd, streams, log)
            self._kill_if_overdue()
            if code is None:
                code = self._reap(child)
                if code is not None:
                    drain_until = _monotonic_s() + DRAIN_S
                    self._kill_descendants(child.pid)
            else:
                self._kill_descendants(child.pid)
        return code

    def _patience(self, code: int | None, drain_until: float) -> float | None:
        deadline = drain_until if code is not None else self._kill_at
        return None if deadline is None else max(0.0, deadline - _monotonic_s())

    def _read(self, descriptor: int, streams: dict[int, str], log: CriLog) -> None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            log.write(streams[descriptor], data)
        else:
            self._selector.unregister(descriptor)
            del streams[descriptor]

    def _on_signals(self, signals: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if signal.SIGTERM in os.read(signals, 4096):
                self._stop()

    def _stop(self) -> None:
        """SIGTERM to the group, once; SIGKILL when the grace is over, which a later request can bring forward."""
        try:
            grace_s = float(self._file("stop").read_text())
        except (OSError, ValueError):
            grace_s = float(self._spec["grace_s"])
        kill_at = _monotonic_s() + grace_s
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        if not self._asked and grace_s > 0:
            self._asked = True
            self._signal_group(signal.SIGTERM)

    def _kill_if_overdue(self) -> None:
        if self._kill_at is not None and _monotonic_s() >= self._kill_at:
            self._signal_group(signal.SIGKILL)
            self._kill_at = None

    def _signal_group(self, number: signal.Signals) -> None:
        # The child has not been reaped, so its pid and with it the group's number is nobody else's.
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    @staticmethod
    def _reap(child: subprocess.Popen[bytes]) -> int | None:
        """Collect children that ended; the command's return code if it is among them. It stays unreaped until its group
        has been killed: only then may its pid be used again."""
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        return child.wait()

    @staticmethod
    def _kill_descendants(but: int) -> None:
        """A container ends with its first process: what that has left behind ends with it."""
        children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children")
        with contextlib.suppress(OSError):
            for pid in map(int, children.read_text().split()):
                if pid != but:
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _finish(self, code: int, number: int, *, reason: str = "", message: str = "") -> None:
        self._state |= {"exit_code": code, "signal": int(number), "finished_ns": now_ns()}
        self._state |= {"reason": reason, "message": message}
        self._write_state()


def main() -> int:
    os.umask(0o077)
    return Shim(pathlib.Path(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    sys.exit(main())
