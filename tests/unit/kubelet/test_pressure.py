"""What a node's conditions are made of: the kernel's files and the file system of the runtime's directory."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import pytest

from services.kubelet.health import HEALTHY, Health, health
from services.kubelet.process.pressure import OVER_AFTER_S, Pressure, capacity


class Disk(NamedTuple):
    f_blocks: int = 1000
    f_bavail: int = 500
    f_files: int = 1000
    f_favail: int = 500


class Machine:
    """Plenty of everything, unless said otherwise."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.proc = directory / "proc"
        self.root = directory / "root"
        self.root.mkdir()
        (self.proc / "sys/kernel").mkdir(parents=True)
        self.disk = Disk()
        self.set()
        self.pressure = Pressure(self.root, proc=self.proc, statvfs=lambda _: self.disk)

    def set(self, *, available_kib: int = 8 << 20, threads: int = 500) -> None:
        (self.proc / "meminfo").write_text(f"MemTotal:  16777216 kB\nMemAvailable: {available_kib} kB\n")
        (self.proc / "loadavg").write_text(f"0.10 0.20 0.30 2/{threads} 4711\n")
        (self.proc / "sys/kernel/pid_max").write_text("32768\n")
        (self.proc / "sys/kernel/threads-max").write_text("10000\n")


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_with_plenty_of_everything_is_healthy(machine: Machine) -> None:
    assert machine.pressure.measure(0.0) == HEALTHY


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ({"available_kib": 100 * 1024 - 1}, health(memory=True)),
        ({"threads": 9_001}, health(pids=True)),
        ({"disk": Disk(f_bavail=99)}, health(disk=True)),
        ({"disk": Disk(f_favail=49)}, health(disk=True)),
    ],
)
def test_what_is_short_counts_until_it_was_over_for_five_minutes(
    machine: Machine, short: dict[str, object], expected: Health
) -> None:
    machine.disk = short.pop("disk", machine.disk)  # type: ignore[assignment]
    machine.set(**short)  # type: ignore[arg-type]
    assert machine.pressure.measure(0.0) == expected
    machine.disk = Disk()
    machine.set()
    assert machine.pressure.measure(OVER_AFTER_S - 1) == expected
    assert machine.pressure.measure(OVER_AFTER_S) == HEALTHY


def test_just_enough_is_enough_and_a_file_system_without_inodes_too(machine: Machine) -> None:
    machine.set(available_kib=100 * 1024, threads=9_000)
    machine.disk = Disk(f_bavail=100, f_files=0, f_favail=0)
    assert machine.pressure.measure(0.0) == HEALTHY


def test_a_directory_that_cannot_be_written_makes_the_node_not_ready(machine: Machine) -> None:
    machine.root.rmdir()
    ready = machine.pressure.measure(0.0)[-1]
    assert (ready.type, ready.status, ready.reason) == ("Ready", "False", "KubeletNotReady")
    assert str(machine.root) in ready.message


def test_what_the_kernel_does_not_tell_is_not_called_short(machine: Machine) -> None:
    (machine.proc / "meminfo").unlink()
    (machine.proc / "loadavg").write_text("?")
    assert machine.pressure.measure(0.0) == HEALTHY


def test_capacity_is_the_whole_machine(machine: Machine) -> None:
    found = capacity(machine.proc)
    assert found["memory"] == "16777216Ki" and int(found["cpu"]) > 0 and found["pods"] == "110"
