"""The supervisor with real processes: small servers that stand for components."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import msgspec
import pytest

from services.cli.errors import CliError
from services.cli.onebox import control, end, launch, ports, processes
from services.cli.onebox.home import Home
from services.cli.onebox.plan import Component
from services.cli.onebox.progress import Progress
from services.cli.onebox.state import ComponentState, SupervisorState
from services.cli.onebox.status import last_state, supervisor_state

pytestmark = pytest.mark.timeout(60)

T = TypeVar("T")

BASE_PORT = 17800

SERVER = """
import http.server, pathlib, signal, sys, time
name, port, ended, stubborn = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4] == "stubborn"
def end(*_):
    if not stubborn:
        with ended.open("a") as file:
            file.write(name + "\\n")
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
print(name, "starts", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def component(home: Home, name: str, number: int, *, stubborn: bool = False, stop_order: int = 0) -> Component:
    port = BASE_PORT + number
    script = home.root / "server.py"
    arguments = (name, str(port), str(home.root / "ended"), "stubborn" if stubborn else "obedient")
    return Component(
        name=name,
        kind="test",
        partition="",
        argv=(sys.executable, str(script), *arguments),
        ready_url=f"http://127.0.0.1:{port}/readyz",
        ports={"http": port},
        stop_order=stop_order,
        stop_deadline_s=1.0 if stubborn else 10.0,
    )


@pytest.fixture
def home(tmp_path: pathlib.Path) -> Iterator[Home]:
    # Deeper than a socket address is long.
    made = Home(tmp_path / ("deep" * 25) / "home")
    made.make()
    (made.root / "server.py").write_text(SERVER)
    yield made
    with contextlib.suppress(CliError):
        end.down(made, Progress())
    launch.end_leftovers(made)


def started(home: Home, *components: Component) -> SupervisorState:
    home.plan_file.write_bytes(msgspec.json.encode(components))
    launch.detach(home)
    return eventually(lambda: ready(home))


def ready(home: Home) -> SupervisorState | None:
    state = supervisor_state(home)
    return state if state and state.ready else None


def of(home: Home, name: str) -> ComponentState:
    state = supervisor_state(home)
    assert state is not None
    return next(one for one in state.components if one.name == name)


def eventually(check: Callable[[], T | None], within_s: float = 20.0) -> T:
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_components_are_ended_in_order_and_the_supervisor_with_them(home: Home) -> None:
    state = started(
        home,
        component(home, "data", 0, stop_order=2),
        component(home, "user", 1),
        component(home, "api", 2, stop_order=1),
    )
    end.down(home, Progress())
    assert (home.root / "ended").read_text().split() == ["user", "api", "data"]
    assert not any(processes.is_same(one.pid, one.started) for one in state.components)
    assert not processes.is_same(state.pid, state.started)
    assert not home.socket_file.exists()
    left = last_state(home)
    assert left and all(one.phase == "stopped" and one.pid == 0 for one in left.components)


def test_a_crashed_component_is_started_again_and_counted(home: Home) -> None:
    before = started(home, component(home, "one", 0), component(home, "two", 1))
    os.kill(before.components[0].pid, signal.SIGKILL)
    after = eventually(lambda: of(home, "one") if of(home, "one").restarts == 1 and of(home, "one").ready else None)
    assert after.pid != before.components[0].pid and after.last_exit == "signal SIGKILL"
    assert of(home, "two") == before.components[1]
    assert home.log("one").read_text().count("one starts") == 2


def test_one_that_keeps_crashing_waits_longer_each_time(home: Home) -> None:
    broken = replace(component(home, "broken", 0), argv=(sys.executable, "-c", "raise SystemExit(3)"))
    home.plan_file.write_bytes(msgspec.json.encode([broken]))
    launch.detach(home)
    state = eventually(lambda: of(home, "broken") if of(home, "broken").restarts >= 4 else None)
    assert state.last_exit == "exit code 3" and not state.ready
    log = home.log("supervisor").read_text()
    pauses = [float(line.rsplit(" ", 2)[1]) for line in log.splitlines() if "starting again in" in line]
    assert pauses[:4] == sorted(pauses[:4]) and pauses[3] > 4 * pauses[0]


def test_one_that_ignores_sigterm_is_killed_after_its_deadline(home: Home) -> None:
    state = started(home, component(home, "stubborn", 0, stubborn=True))
    end.down(home, Progress())
    assert not processes.is_same(state.components[0].pid, state.components[0].started)
    assert "SIGKILL" in home.log("supervisor").read_text()


def test_children_end_with_a_supervisor_that_is_killed(home: Home) -> None:
    state = started(home, component(home, "one", 0), component(home, "two", 1, stubborn=True))
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: not any(processes.is_same(one.pid, one.started) for one in state.components))
    assert supervisor_state(home) is None
    assert started(home, component(home, "one", 0), component(home, "two", 1)).ready


def test_what_a_killed_supervisor_left_is_ended_but_no_stranger(home: Home) -> None:
    # A process without the kernel's death signal, recorded as a component; and one whose pid was recorded long ago.
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        components = (
            ComponentState("left", "test", "", pid=left.pid, started=processes.start_ticks(left.pid) or 0),
            ComponentState("stranger", "test", "", pid=stranger.pid, started=1),
        )
        home.state_file.write_bytes(msgspec.json.encode(SupervisorState(1, 1, components)))
        assert launch.end_leftovers(home) == 1
        assert left.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


def test_a_second_supervisor_of_the_same_home_gives_up(home: Home) -> None:
    first = started(home, component(home, "one", 0))
    second = subprocess.run(
        [sys.executable, "-m", "services.cli.onebox.supervisor", "--home", str(home.root)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert second.returncode == 1 and "another supervisor" in second.stderr
    assert supervisor_state(home, fresh=False) == first


def test_a_restart_that_is_asked_for_is_immediate(home: Home) -> None:
    before = started(home, component(home, "one", 0)).components[0]
    assert list(control.ask(home.socket_file, control.Request("restart", "one"))) == [{"restarted": "one"}]
    after = eventually(lambda: of(home, "one") if of(home, "one").ready and of(home, "one").pid != before.pid else None)
    assert after.restarts == 1
    with pytest.raises(CliError, match="no component 'nine'"):
        list(control.ask(home.socket_file, control.Request("restart", "nine")))


def test_the_socket_is_the_users_alone(home: Home) -> None:
    started(home, component(home, "one", 0))
    assert home.socket_file.stat().st_mode & 0o077 == 0


def test_a_busy_port_names_component_and_holder(home: Home) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", BASE_PORT + 1))
        taken.listen()
        [found] = ports.busy([component(home, "free", 0), component(home, "wanted", 1)])
    assert (found.component, found.port, found.pid) == ("wanted", BASE_PORT + 1, os.getpid())
    assert "wanted" in str(found) and str(os.getpid()) in str(found)
    assert ports.busy([component(home, "wanted", 1)]) == []
