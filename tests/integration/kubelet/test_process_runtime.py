"""The process runtime with real processes, between kubelets that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import SystemClock
from services.base.tasks import stop_task
from services.client.timers import Timers
from services.kubelet.process.files import is_alive
from services.kubelet.process.launch import Surroundings
from services.kubelet.process.runtime import ProcessRuntime, RootInUse
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from tests.support.client_world import pod as make_pod

STARTED, EXITED, STOPPED = RuntimeEventType.STARTED, RuntimeEventType.EXITED, RuntimeEventType.STOPPED
FAILED, KNOWN = RuntimeEventType.FAILED, RuntimeEventType.KNOWN


class Kubelet:
    """One life of a kubelet, as far as its runtime sees it."""

    def __init__(self, root: pathlib.Path) -> None:
        self.events: list[RuntimeEvent] = []
        self.timers = Timers(SystemClock())
        around = Surroundings(os.environ["PATH"], "/", os.getuid(), os.getgid(), "/", "127.0.0.1")
        self.runtime = ProcessRuntime(root, frozenset({"rp-1/n1"}), around, self.timers, self.events.append)

    async def until(self, type_: RuntimeEventType, container: str = "", *, restart: int = 0) -> RuntimeEvent:
        """The first such event, which is then taken."""
        found: list[RuntimeEvent] = []

        def there() -> bool:
            found[:] = [e for e in self.events if (e.type, e.container, e.restart) == (type_, container, restart)]
            return bool(found)

        await until(there, f"{type_} {container} in {self.events}")
        self.events.remove(found[0])
        return found[0]

    async def run(self, pod: Pod) -> None:
        """All containers of a pod that is new to it."""
        self.runtime.take_up(pod, "tp-1")
        await self.until(KNOWN)
        for spec in pod.spec.containers:
            self.runtime.start_container(pod, spec.name, 0)


@contextlib.asynccontextmanager
async def kubelet(root: pathlib.Path) -> AsyncIterator[Kubelet]:
    """One life; what it leaves running runs on."""
    made = Kubelet(root)
    task = asyncio.create_task(made.timers.run())
    try:
        yield made
    finally:
        made.runtime.close()
        await stop_task(task)


async def until(holds: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def root(tmp_path: pathlib.Path) -> AsyncIterator[pathlib.Path]:
    """A root whose containers have all ended in the end."""
    yield tmp_path
    async with kubelet(tmp_path) as last:
        for left in last.runtime.leftovers():
            last.runtime.stop(left.uid, 0.0)
            await last.until(STOPPED)


def shell(name: str, *scripts: str, tenant: str = "acme", uid: str = "") -> Pod:
    """A pod with a container per script: c0, c1, …"""
    pod = make_pod(name, tenant=tenant, node_name="n1")
    pod.metadata.uid = uid or f"uid-{name}"
    del pod.spec.containers[:]
    for number, script in enumerate(scripts):
        pod.spec.containers.add(name=f"c{number}", image="none", command=["/bin/sh", "-c", script])
    return pod


def log_of(root: pathlib.Path, pod: Pod, container: str = "c0", restart: int = 0) -> list[str]:
    metadata = pod.metadata
    directory = root / "pods" / f"{metadata.tenant}_{metadata.namespace}_{metadata.name}_{metadata.uid}"
    return (directory / container / f"{restart}.log").read_text().splitlines()


def texts(lines: list[str]) -> list[str]:
    """Stream, tag and text of each line."""
    return [line.split(" ", 1)[1] for line in lines]


async def test_output_and_exit_code_of_each_container(root: pathlib.Path) -> None:
    pod = shell("p", "echo out; echo err >&2; printf rest; exit 3", "exit 0")
    async with kubelet(root) as one:
        await one.run(pod)
        assert (await one.until(STARTED, "c0")).pod_ip == "127.0.0.1"
        ended = await one.until(EXITED, "c0")
        assert (ended.exit_code, ended.signal, ended.reason) == (3, 0, "")
        assert ended.started_s <= ended.finished_s
        assert (await one.until(EXITED, "c1")).exit_code == 0
    lines = texts(log_of(root, pod))
    assert sorted(lines) == ["stderr F err", "stdout F out", "stdout P rest"]
    stamp = log_of(root, pod)[0].split(" ")[0]
    assert len(stamp) == len("2026-01-02T03:04:05.123456789Z")


async def test_the_environment_is_the_containers_own(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELETS_SECRET", "1")
    pod = shell("p", 'echo "$A|$B|$KUBELETS_SECRET|$HOSTNAME|$0"; pwd; umask')
    spec = pod.spec.containers[0]
    spec.env.add(name="A", value="a")
    spec.env.add(name="B", value="$(A)-$$(A)-$(MISSING)")
    spec.args.extend(["zero-$(A)"])
    spec.working_dir = "/tmp"
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(EXITED, "c0")
    expected = ["a|a-$(A)-$(MISSING)||p|zero-a", "/tmp", "0022"]
    assert [text.split(" ", 2)[2] for text in texts(log_of(root, pod))] == expected


async def test_stopping_gives_the_group_its_grace(root: pathlib.Path) -> None:
    pod = shell("p", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 60 & wait; done")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(STARTED, "c0")
        await until(lambda: texts(log_of(root, pod)) == ["stdout F up"], "its first line")
        one.runtime.stop("uid-p", 20.0)
        assert (await one.until(EXITED, "c0")).exit_code == 7
        assert (await one.until(STOPPED)).exit_code == 7
    assert texts(log_of(root, pod)) == ["stdout F up", "stdout F bye"]


async def test_what_ignores_sigterm_is_killed_after_the_grace_with_its_children(root: pathlib.Path) -> None:
    pod = shell("p", "trap '' TERM; (trap '' TERM; setsid sleep 600) & echo child $!; sleep 600 & wait; sleep 600")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(STARTED, "c0")
        await until(lambda: bool(log_of(root, pod)), "its first line")
        one.runtime.stop("uid-p", 0.3)
        ended = await one.until(EXITED, "c0")
        assert (ended.exit_code, ended.signal) == (137, signal.SIGKILL)
        await one.until(STOPPED)
        await until(lambda: not marked("uid-p/c0/0"), "no process of the container is left")


async def test_a_shorter_grace_overtakes_a_longer_one(root: pathlib.Path) -> None:
    pod = shell("p", "trap '' TERM; echo up; while :; do sleep 600; done")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(STARTED, "c0")
        await until(lambda: bool(log_of(root, pod)), "its trap is set")
        one.runtime.stop("uid-p", 600.0)
        one.runtime.stop("uid-p", 0.0)
        assert (await one.until(EXITED, "c0")).exit_code == 137


async def test_a_kubelet_that_comes_back_finds_what_runs_and_what_ended(root: pathlib.Path) -> None:
    pod = shell("p", "read line <go; echo $line; exit 5", "echo up; sleep 600", "exit 9")
    directory = root / "pods" / "acme_default_p_uid-p" / "c0" / "work"
    async with kubelet(root) as one:
        await one.run(pod)
        os.mkfifo(directory / "go")
        for name in ("c0", "c1", "c2"):
            await one.until(STARTED, name)
    before = marked("uid-p/c1/0")
    # No kubelet is there now: output goes on, and an end is noted.
    await until(lambda: bool(log_of(root, pod, "c1")), "its first line")
    await asyncio.to_thread((directory / "go").write_text, "went on\n")
    await until(lambda: bool(log_of(root, pod)), "output while no kubelet was there")
    await until(lambda: not marked("uid-p/c0/0"), "its end")
    async with kubelet(root) as two:
        two.runtime.take_up(pod, "tp-1")
        assert (await two.until(EXITED, "c0")).exit_code == 5
        assert (await two.until(STARTED, "c1")).restart == 0
        assert (await two.until(EXITED, "c2")).exit_code == 9
        await two.until(KNOWN)
        two.runtime.start_container(pod, "c1", 0)
        await two.until(STARTED, "c1")
        assert marked("uid-p/c1/0") == before, "nothing was started twice"
        two.runtime.stop("uid-p", 0.0)
        await two.until(EXITED, "c1")
        await two.until(STOPPED)
    assert texts(log_of(root, pod)) == ["stdout F went on"]


async def test_a_pod_that_is_stopped_without_being_taken_up_is_told_what_ended_before(root: pathlib.Path) -> None:
    """It was deleted while no kubelet was here: how its containers ended is told all the same, and once."""
    pod = shell("p", "read line <go; exit 5", "echo up; exec sleep 600")
    directory = root / "pods" / "acme_default_p_uid-p" / "c0" / "work"
    async with kubelet(root) as one:
        await one.run(pod)
        os.mkfifo(directory / "go")
        for name in ("c0", "c1"):
            await one.until(STARTED, name)
        await until(lambda: bool(log_of(root, pod, "c1")), "its first line")
    await asyncio.to_thread((directory / "go").write_text, "\n")
    state = directory.parent / "0.json"
    await until(lambda: not is_alive(json.loads(state.read_text())), "its end, and that of its keeper")
    async with kubelet(root) as two:
        two.runtime.stop("uid-p", 20.0)
        two.runtime.stop("uid-p", 10.0)
        ended = await two.until(EXITED, "c0")
        assert ended.exit_code == 5
        assert ended.finished_s == json.loads(state.read_text())["finished_ns"] / 1e9
        assert (await two.until(EXITED, "c1")).exit_code == 143
        assert (await two.until(STOPPED)).exit_code == 143
        two.runtime.stop("uid-p", 0.0)
        await two.until(STOPPED)
        assert [event for event in two.events if event.type is EXITED] == []


async def test_a_start_that_a_kubelet_did_not_live_to_see_is_found_by_the_next(root: pathlib.Path) -> None:
    """Its keeper has not yet written that it is there, so another one is started; the first has the container."""
    pod = shell("p", "echo up; sleep 300")
    async with kubelet(root) as one:
        await one.run(pod)
        begun = (await one.until(STARTED, "c0")).started_s
    async with kubelet(root) as two:
        # As it would have seen it a moment earlier.
        two.runtime._start(two.runtime._pods["uid-p"], pod, pod.spec.containers[0], 0)
        await until(lambda: two.runtime._pods["uid-p"].kept["c0"].process is None, "the first keeper is followed")
        assert (await two.until(STARTED, "c0")).started_s == begun
        assert two.runtime.is_running("uid-p", "c0")
        assert [event for event in two.events if event.type is EXITED] == []
        await until(lambda: texts(log_of(root, pod)) == ["stdout F up"], "it was started once")
        two.runtime.stop("uid-p", 5.0)
        assert (await two.until(STOPPED)).exit_code == 143


async def test_a_keeper_that_was_killed_takes_its_container_with_it(root: pathlib.Path) -> None:
    pod = shell("p", "sleep 600 & sleep 600")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(STARTED, "c0")
        [state] = one.runtime._pods.values()
        attempt = state.files.last("c0")
        assert attempt is not None
        os.kill(attempt.shim, signal.SIGKILL)
        ended = await one.until(EXITED, "c0")
        assert (ended.exit_code, ended.reason) == (137, "ContainerStatusUnknown")
        await until(lambda: not marked("uid-p/c0/0"), "nothing of the container is left")


async def test_a_pid_that_is_another_process_now_is_not_taken_for_the_container(root: pathlib.Path) -> None:
    pod = shell("p", "exit 0")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(EXITED, "c0")
    state = root / "pods" / "acme_default_p_uid-p" / "c0" / "0.json"
    # As if the machine had lost the end, and this test's own process had the shim's pid.
    document = json.loads(state.read_text())
    del document["exit_code"]
    state.write_text(json.dumps(document | {"shim": os.getpid(), "pid": os.getpid()}))
    async with kubelet(root) as two:
        two.runtime.take_up(pod, "tp-1")
        assert (await two.until(EXITED, "c0")).reason == "ContainerStatusUnknown"
        await two.until(KNOWN)


@pytest.mark.parametrize(
    ("command", "image", "reason", "words"),
    [
        ([], "nginx:1", "CreateContainerError", "names no command"),
        (["true"], "none", "CreateContainerConfigError", "runAsUser"),
    ],
)
async def test_what_cannot_be_made_is_refused(
    root: pathlib.Path, command: list[str], image: str, reason: str, words: str
) -> None:
    pod = make_pod("p", node_name="n1")
    pod.metadata.uid = "uid-p"
    spec = pod.spec.containers[0]
    spec.image = image
    spec.command.extend(command)
    if command:
        spec.security_context.run_as_user = os.getuid() + 1
    async with kubelet(root) as one:
        await one.run(pod)
        failed = await one.until(FAILED, "main")
        assert failed.reason == reason
        assert words in failed.message


async def test_a_command_that_does_not_exist_is_a_start_error(root: pathlib.Path) -> None:
    pod = shell("p", "true")
    pod.spec.containers[0].command[:] = ["no-such-command"]
    async with kubelet(root) as one:
        await one.run(pod)
        ended = await one.until(EXITED, "c0")
        assert (ended.exit_code, ended.reason) == (128, "StartError")
        assert 'exec: "no-such-command": No such file or directory' in ended.message


async def test_a_pause_image_runs_until_it_is_stopped(root: pathlib.Path) -> None:
    pod = make_pod("p", node_name="n1")
    pod.metadata.uid = "uid-p"
    pod.spec.containers[0].image = "registry.k8s.io/pause:3.9"
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(STARTED, "main")
        one.runtime.stop("uid-p", 20.0)
        assert (await one.until(EXITED, "main")).exit_code in (0, 143), "143: stopped before its trap was set"
        await one.until(STOPPED)


async def test_pods_of_one_name_never_share_a_directory(root: pathlib.Path) -> None:
    pods = [shell("p", f"echo {t}-{u}", tenant=t, uid=u) for t, u in (("acme", "u1"), ("beta", "u2"), ("acme", "u3"))]
    async with kubelet(root) as one:
        for pod in pods:
            await one.run(pod)
            await one.until(EXITED, "c0")
    for pod in pods:
        assert texts(log_of(root, pod)) == [f"stdout F {pod.metadata.tenant}-{pod.metadata.uid}"]


async def test_forgetting_a_pod_removes_its_files(root: pathlib.Path) -> None:
    pod = shell("p", "true")
    async with kubelet(root) as one:
        await one.run(pod)
        await one.until(EXITED, "c0")
        one.runtime.forget("uid-p")
        assert list((root / "pods").iterdir()) == []


async def test_two_kubelets_cannot_have_the_same_nodes(root: pathlib.Path) -> None:
    async with kubelet(root):
        with pytest.raises(RootInUse, match="another kubelet runs the containers of rp-1/n1"):
            Kubelet(root)


def marked(container_id: str) -> list[int]:
    """The processes that bear the container's mark."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if f"URSA_CONTAINER_ID={container_id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return sorted(found)


@pytest.mark.parametrize("seen", ["by this kubelet", "by the one before"])
async def test_what_is_forgotten_does_not_run_on(root: pathlib.Path, seen: str) -> None:
    pod = shell("p", "trap '' TERM; echo $$$$; sleep 300 & wait; sleep 300")
    async with contextlib.AsyncExitStack() as stack:
        life = await stack.enter_async_context(kubelet(root))
        await life.run(pod)
        await life.until(STARTED, "c0")
        await until(lambda: bool(log_of(root, pod)), "its pid")
        pid = int(texts(log_of(root, pod))[0].split()[-1])
        if seen == "by the one before":
            await stack.aclose()
            life = await stack.enter_async_context(kubelet(root))
        life.runtime.forget(pod.metadata.uid)
        await until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the end of the command")
        assert list((root / "pods").iterdir()) == []


async def test_a_pod_that_had_no_directory_at_first_is_still_known_by_its_partition(root: pathlib.Path) -> None:
    pod = shell("p", "true")
    async with kubelet(root) as life:
        (root / "pods").write_text("no directory")
        life.runtime.take_up(pod, "tp-1")
        await life.until(KNOWN)
        (root / "pods").unlink()
        life.runtime.start_container(pod, "c0", 0)
        await life.until(EXITED, "c0")
        assert [left.partition for left in life.runtime.leftovers()] == ["tp-1"]


async def test_the_machine_is_measured_and_a_directory_that_is_gone_is_told(root: pathlib.Path) -> None:
    async with kubelet(root) as life:
        assert {one.type for one in await life.runtime.health(0.0)} >= {"Ready", "DiskPressure"}
        assert (await life.runtime.health(0.0))[-1].status == "True"
        elsewhere = root.with_name("elsewhere")
        await asyncio.to_thread(root.rename, elsewhere)
        try:
            assert (await life.runtime.health(0.0))[-1].status == "False"
        finally:
            await asyncio.to_thread(elsewhere.rename, root)
