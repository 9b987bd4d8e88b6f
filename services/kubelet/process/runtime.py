"""``ProcessRuntime``: containers as process groups of this machine, each kept by a shim of its own.

What the runtime knows is in files (``files.py``), which it reads anew whenever it matters: a kubelet that was killed
has lost nothing. A shim that runs is watched by its pidfd, so its end is learnt at once, whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import partial

from services.api.pb.ursa.core.v1.pod_pb2 import Container, Pod
from services.client.timers import Timers
from services.kubelet.containers import UNKNOWN_CODE, UNKNOWN_REASON
from services.kubelet.health import Health, health
from services.kubelet.kubelet import grace_s
from services.kubelet.process import files, remains, shim
from services.kubelet.process.files import Attempt, PodFiles
from services.kubelet.process.launch import CREATE_ERROR, Refusal, Surroundings, plan
from services.kubelet.process.pressure import Pressure
from services.kubelet.runtime import Leftover, Listener, RuntimeEvent, RuntimeEventType

_log = logging.getLogger(__name__)

# A shim that was started writes down within a few milliseconds that its command runs.
START_POLL_S = 0.01
# A machine that is not measured within this time is not well.
HEALTH_S_MAX = 5.0


class RootInUse(OSError):
    """Another kubelet runs containers for the same nodes from the same directory."""


class _Kept:
    """A start of a container whose shim is watched. ``told``: that it runs has been told."""

    __slots__ = ("number", "pidfd", "process", "told", "unhonoured")

    def __init__(self, number: int, pidfd: int, process: subprocess.Popen[bytes] | None, unhonoured: str) -> None:
        self.number = number
        self.pidfd = pidfd
        self.process = process
        self.unhonoured = unhonoured
        self.told = False


class _PodState:
    """``told``: per container the last start of it whose end has been told."""

    __slots__ = ("files", "kept", "stopping", "told")

    def __init__(self, of: PodFiles) -> None:
        self.files = of
        self.kept: dict[str, _Kept] = {}
        self.stopping = False
        self.told: dict[str, int] = {}


class ProcessRuntime:
    """A ``ContainerRuntime`` for the nodes of one pool. ``nodes``: as ``<resource partition>/<name>``."""

    name = "process"
    version = "1.0.0"

    def __init__(
        self, root: pathlib.Path, nodes: frozenset[str], around: Surroundings, timers: Timers, listener: Listener
    ) -> None:
        """Raises ``RootInUse``, and ``OSError`` if ``root`` cannot be made."""
        self._root = root
        self._around = around
        self._timers = timers
        self._listener = listener
        self._pressure = Pressure(root)
        self._measuring: asyncio.Future[Health] | None = None
        self._lock = _lock(root, nodes)
        # Of pods that have been taken up and have no directory.
        self._partitions: dict[str, str] = {}
        self._pods = {found.pod.uid: _PodState(found) for found in files.find(root) if found.pod.node in nodes}

    def close(self) -> None:
        """Stop watching, and let another process have the nodes. Containers run on."""
        for state in self._pods.values():
            for kept in state.kept.values():
                self._unwatch(kept)
            state.kept.clear()
        os.close(self._lock)

    # What the kubelet asks.

    def take_up(self, pod: Pod, partition: str) -> None:
        uid = pod.metadata.uid
        state = self._pods.get(uid)
        if state is None:
            try:
                state = self._pods[uid] = _PodState(files.make(self._root, pod, partition))
            except OSError as failure:
                self._partitions[uid] = partition
                _log.error("no directory for a pod", extra={"uid": uid, "cause": str(failure)})
        if state is not None:
            for container in state.files.containers():
                last = state.files.last(container)
                if last is not None:
                    self._follow(uid, container, last)
        self._soon(RuntimeEvent(RuntimeEventType.KNOWN, uid, pod_ip=self._around.address))

    def start_container(self, pod: Pod, container: str, restart: int) -> None:
        uid = pod.metadata.uid
        try:
            state = self._pods.get(uid)
            if state is None:
                made = files.make(self._root, pod, self._partitions.get(uid, ""))
                state = self._pods[uid] = _PodState(made)
            last = state.files.last(container)
            if last is not None and last.number >= restart:
                self._follow(uid, container, last)
                return
            self._start(state, pod, _spec(pod, container), restart)
        except Refusal as refusal:
            self._soon(_failed(uid, container, restart, refusal.reason, refusal.message))
        except OSError as failure:
            self._soon(_failed(uid, container, restart, CREATE_ERROR, f"failed to create container: {failure}"))

    def stop(self, uid: str, grace_s: float) -> None:
        state = self._pods.get(uid)
        if state is None:
            self._soon(RuntimeEvent(RuntimeEventType.STOPPED, uid))
            return
        state.stopping = True
        for container in state.files.containers():
            last = state.files.last(container)
            if last is None or (not last.alive and container in state.kept):
                continue  # Nothing ran, or the end is about to be told.
            # A pod may be stopped that was never taken up: what ended while no kubelet was here is told now.
            if last.alive or state.told.get(container, -1) < last.number:
                self._follow(uid, container, last)
        for container, kept in state.kept.items():
            # Without the file (a full disk) the keeper takes the grace of the pod's spec.
            with contextlib.suppress(OSError):
                state.files.write(container, f"{kept.number}.stop", f"{grace_s:.3f}")
            self._ask_to_stop(kept)
        self._if_over(uid, state)

    @staticmethod
    def _ask_to_stop(kept: _Kept) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(kept.pidfd, signal.SIGTERM)

    def forget(self, uid: str) -> None:
        self._partitions.pop(uid, None)
        state = self._pods.get(uid)
        if state is None:
            return
        # Once its files are gone nobody would ever find what still runs.
        for container in state.files.containers():
            last = state.files.last(container)
            if last is not None and last.alive and container not in state.kept:
                self._follow(uid, container, last)
        for container, kept in state.kept.items():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(kept.pidfd, signal.SIGKILL)
            self._unwatch(kept)
            last = state.files.last(container)
            if last is not None:
                remains.end(last.pid, remains.mark(uid, container, last.number))
        del self._pods[uid]
        state.files.remove()

    async def health(self, now_s: float) -> Health:
        if self._measuring is None:
            # In a thread: a disk that stands still must not stop the kubelet.
            self._measuring = asyncio.get_running_loop().run_in_executor(None, self._pressure.measure, now_s)
        done, _ = await asyncio.wait([self._measuring], timeout=HEALTH_S_MAX)
        if not done:
            return health(unready=f"container runtime is not ready: {self._root} does not answer")
        measured, self._measuring = self._measuring.result(), None
        return measured

    def leftovers(self) -> Iterable[Leftover]:
        return [state.files.pod for state in self._pods.values()]

    def log_file(self, uid: str, container: str, *, previous: bool) -> pathlib.Path | None:
        state = self._pods.get(uid)
        if state is None:
            return None
        numbers = [n for n in state.files.attempts(container) if state.files.log(container, n).exists()]
        wanted = numbers[-2:-1] if previous else numbers[-1:]
        return state.files.log(container, wanted[0]) if wanted else None

    def is_running(self, uid: str, container: str) -> bool:
        state = self._pods.get(uid)
        last = None if state is None else state.files.last(container)
        return last is not None and last.alive

    # Starting.

    def _start(self, state: _PodState, pod: Pod, spec: Container, restart: int) -> None:
        directory = state.files.container(spec.name)
        work = directory / "work"
        work.mkdir(mode=0o755, parents=True, exist_ok=True)
        launch = plan(pod, spec, self._around._replace(directory=str(work)))
        uid = pod.metadata.uid
        env = {**launch.env, remains.MARK: remains.mark(uid, spec.name, restart)}
        document = {"argv": launch.argv, "env": env, "cwd": launch.cwd, "grace_s": grace_s(pod)}
        state.files.clear_before(spec.name, restart - 1)
        state.files.write(spec.name, f"{restart}.spec", json.dumps(document))
        process = subprocess.Popen(
            [sys.executable, "-S", shim.__file__, str(directory), str(restart)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Neither the terminal's signals nor those for the kubelet's group are for the pods.
            start_new_session=True,
            env={"PATH": self._around.path},
            cwd=directory,
        )
        unhonoured = ", ".join(launch.unhonoured)
        told = f"container {spec.name}: the process runtime does not honour {unhonoured}" if unhonoured else ""
        self._watch(uid, spec.name, _Kept(restart, os.pidfd_open(process.pid), process, told))

    def _watch(self, uid: str, container: str, kept: _Kept) -> None:
        self._pods[uid].kept[container] = kept
        asyncio.get_running_loop().add_reader(kept.pidfd, self._ended, uid, container, kept)
        self._look(uid, container, kept)

    @staticmethod
    def _unwatch(kept: _Kept) -> None:
        asyncio.get_running_loop().remove_reader(kept.pidfd)
        os.close(kept.pidfd)
        if kept.process is not None:
            kept.process.poll()  # Reaps it, if it has ended.
            kept.process.returncode = kept.process.returncode or 0  # It may outlive this object on purpose.

    def _look(self, uid: str, container: str, kept: _Kept) -> None:
        """Whether it runs already; else look again soon."""
        state = self._pods.get(uid)
        if kept.told or state is None or state.kept.get(container) is not kept:
            return
        found = state.files.read(container, kept.number)
        if found is None or not found.started_s:
            self._timers.after(START_POLL_S, partial(self._look, uid, container, kept))
            return
        kept.told = True
        self._soon(self._started(uid, container, found, kept.unhonoured))

    def _follow(self, uid: str, container: str, last: Attempt) -> None:
        """Tell how a start that was made before is, and watch it if it runs."""
        state = self._pods[uid]
        known = state.kept.get(container)
        if known is not None:
            known.told = False
            self._look(uid, container, known)
            return
        if last.alive:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(last.shim)
                again = state.files.read(container, last.number)
                if again is not None and again.alive:  # Still the same process, now that it cannot be another.
                    self._watch(uid, container, _Kept(last.number, pidfd, None, ""))
                    return
                os.close(pidfd)
        self._tell_end(uid, container, state.files.read(container, last.number) or last)

    # Ending.

    def _ended(self, uid: str, container: str, kept: _Kept) -> None:
        """The shim is gone."""
        self._unwatch(kept)
        state = self._pods.get(uid)
        if state is None or state.kept.get(container) is not kept:
            return
        del state.kept[container]
        found = state.files.read(container, kept.number)
        if found is not None and found.alive:
            # Not this shim's start: one that a kubelet before this one had just begun was first, and has it.
            self._follow(uid, container, found)
            if state.stopping and container in state.kept:
                self._ask_to_stop(state.kept[container])
        elif found is None:
            message = "the container's keeper ended before it could start the command"
            self._soon(_exited(uid, container, kept.number, UNKNOWN_CODE, UNKNOWN_REASON, message))
        else:
            if not kept.told and found.pid:
                self._soon(self._started(uid, container, found, kept.unhonoured))
            self._tell_end(uid, container, found)
        self._if_over(uid, state)

    def _tell_end(self, uid: str, container: str, found: Attempt) -> None:
        self._pods[uid].told[container] = found.number
        code, reason, message = found.exit_code, found.reason, found.message
        if code is None:
            remains.end(found.pid, remains.mark(uid, container, found.number))
            code, reason = UNKNOWN_CODE, UNKNOWN_REASON
            message = "the container's keeper ended and took its exit code with it"
        event = _exited(uid, container, found.number, code, reason, message)
        self._soon(event._replace(started_s=found.started_s, finished_s=found.finished_s, signal=found.signal))

    def _if_over(self, uid: str, state: _PodState) -> None:
        if state.stopping and not state.kept:
            state.stopping = False
            lasts = [state.files.last(container) for container in state.files.containers()]
            codes = [UNKNOWN_CODE if last.exit_code is None else last.exit_code for last in lasts if last is not None]
            self._soon(RuntimeEvent(RuntimeEventType.STOPPED, uid, max(codes, default=0)))

    # Telling.

    def _started(self, uid: str, container: str, found: Attempt, message: str) -> RuntimeEvent:
        return RuntimeEvent(
            RuntimeEventType.STARTED,
            uid,
            pod_ip=self._around.address,
            container=container,
            restart=found.number,
            started_s=found.started_s,
            message=message,
        )

    def _soon(self, event: RuntimeEvent) -> None:
        self._timers.after(0.0, partial(self._listener, event))


def _spec(pod: Pod, name: str) -> Container:
    return next(spec for spec in (*pod.spec.init_containers, *pod.spec.containers) if spec.name == name)


def _failed(uid: str, container: str, restart: int, reason: str, message: str) -> RuntimeEvent:
    return RuntimeEvent(
        RuntimeEventType.FAILED, uid, container=container, restart=restart, reason=reason, message=message
    )


def _exited(uid: str, container: str, restart: int, code: int, reason: str, message: str) -> RuntimeEvent:
    return RuntimeEvent(
        RuntimeEventType.EXITED, uid, code, container=container, restart=restart, reason=reason, message=message
    )


def _lock(root: pathlib.Path, nodes: frozenset[str]) -> int:
    """Held as long as this process lives."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = min(nodes).replace("/", "_")
    descriptor = os.open(root / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RootInUse(f"another kubelet runs the containers of {min(nodes)} in {root}") from None
    return descriptor
