"""The containers of a compose project, through the `docker` and compose commands that started them."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
from typing import Any

COMPOSE_FILE = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "compose" / "compose.yaml"

# Run inside a container: SIGKILL for what init started, as a crash would end it. Not `docker kill`, which counts as a
# person's wish and is not followed by a restart.
_CRASH = """
import os, pathlib, signal
for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
    pid, parent = stat.parent.name, stat.read_text().rpartition(")")[2].split()[1]
    if parent == "1" and int(pid) != os.getpid():
        os.kill(int(pid), signal.SIGKILL)
"""


def docker(*words: str) -> str:
    """The output of ``docker <words>``, which must succeed."""
    return _run("docker", *words)


def compose(*words: str) -> str:
    """The output of ``docker compose <words>`` for this project, which must succeed."""
    project = os.environ["COMPOSE_PROJECT_NAME"]
    command = shlex.split(os.environ["URSA_COMPOSE"])
    return _run(*command, "--project-name", project, "--file", str(COMPOSE_FILE), *words)


def inspect() -> dict[str, dict[str, Any]]:
    """``docker inspect`` of every container of the project, by service."""
    project = os.environ["COMPOSE_PROJECT_NAME"]
    ids = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}").split()
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids))
    return {entry["Config"]["Labels"]["com.docker.compose.service"]: entry for entry in found}


def is_healthy(service: str) -> bool:
    state = inspect()[service]["State"]
    return bool(state["Status"] == "running" and state["Health"]["Status"] == "healthy")


def crash(service: str) -> None:
    """End the Python process of a container with SIGKILL; its restart policy applies."""
    container = inspect()[service]["Id"]
    # The process that kills dies with the container: its own exit code says nothing.
    subprocess.run(
        ["docker", "exec", container, "python3", "-I", "-S", "-c", _CRASH],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def _run(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
