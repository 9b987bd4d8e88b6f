"""Starting a one-box: leftovers cleaned, ports checked, files written, the supervisor detached."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from dataclasses import asdict, fields

import msgspec

from services.cli import context as contexts
from services.cli.errors import CliError, Refused, UsageError
from services.cli.onebox import ports, processes, state
from services.cli.onebox.etcd_binary import Etcd
from services.cli.onebox.home import Home, write_atomically
from services.cli.onebox.plan import ClusterPlan, Options, plan
from services.cli.onebox.status import supervisor_state
from services.cli.waiting import until

LEFTOVER_DEADLINE_S = 5.0
SUPERVISOR_DEADLINE_S = 15.0
BUSY_SHOWN = 6


def recorded(home: Home) -> Options | None:
    """The options that the home was last started with; None for a new one (or one written by another version)."""
    try:
        document = msgspec.json.decode(home.context_file.read_bytes())
        return msgspec.convert(document["options"], Options)
    except (OSError, KeyError, TypeError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def chosen(home: Home, asked: dict[str, object]) -> Options:
    """``asked`` (None: not given) over what the home was started with, over the defaults. Raises ``UsageError`` when
    partitions that hold data would be left out."""
    before = recorded(home)
    given = {name: value for name, value in asked.items() if value is not None}
    options = msgspec.convert({**(asdict(before) if before else {}), **given}, Options)
    for name in ("tenant_partitions", "resource_partitions"):
        if before and getattr(options, name) < getattr(before, name):
            raise UsageError(
                f"{home.root} holds the state of {getattr(before, name)} {name.replace('_', ' ')}",
                hint="start with at least as many, or remove the state with `make clean`",
            )
    options.check()
    return options


def differences(before: Options, after: Options) -> list[str]:
    """The options that differ, as a person would write them."""
    return [
        f"--{field.name.replace('_', '-')} {getattr(before, field.name)}"
        for field in fields(Options)
        if getattr(before, field.name) != getattr(after, field.name)
    ]


def end_leftovers(home: Home) -> int:
    """End processes that a supervisor which is gone has left behind: only those of the recorded pid *and* start time.

    Returns how many there were. They have the kernel's death signal, so normally there are none.
    """
    last = state.load(home.state_file)
    if last is None:
        return 0
    left = [one for one in last.components if processes.is_same(one.pid, one.started)]
    for one in left:
        processes.signal_group(one.pid, one.started, signal.SIGKILL)
    until(lambda: not any(processes.is_same(one.pid, one.started) for one in left), LEFTOVER_DEADLINE_S)
    return len(left)


def prepare(home: Home, options: Options, etcd: Etcd) -> ClusterPlan:
    """Write every file of the one-box. Raises ``Refused`` naming busy ports and who holds them."""
    made = plan(options, home, etcd_binary=etcd.path)
    taken = ports.busy(made.components)
    if taken:
        shown = [str(one) for one in taken[:BUSY_SHOWN]]
        listed = "\n  ".join([*shown, *([f"and {len(taken) - BUSY_SHOWN} more"] if len(taken) > BUSY_SHOWN else [])])
        raise Refused(f"ports are busy:\n  {listed}", hint="end that process, or choose another --base-port")
    for name, text in made.files.items():
        write_atomically(home.root / name, text.encode())
    write_atomically(home.plan_file, msgspec.json.encode(made.components))
    remembered = {"options": asdict(options), "etcdVersion": etcd.version_text, "etcdBinary": etcd.path}
    write_atomically(home.context_file, contexts.dump(made.context, remembered))
    return made


def detach(home: Home) -> None:
    """Start the supervisor and return when it answers. Raises ``CliError`` with the end of its log."""
    with home.log("supervisor").open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "services.cli.onebox.supervisor", "--home", str(home.root)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=home.root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())},
        )
    until(lambda: supervisor.poll() is not None or supervisor_state(home, fresh=False), SUPERVISOR_DEADLINE_S)
    if supervisor_state(home, fresh=False) is None:
        raise CliError(f"the supervisor did not start:\n{_end_of(home.log('supervisor'))}")
    # It outlives this command on purpose; without this, Popen would warn about it.
    supervisor.returncode = 0


def _import_path() -> list[str]:
    # The directory that holds the `services` package, so that another directory of that name can never be taken.
    root = str(pathlib.Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [root, *(path for path in inherited if path and path != root)]


def _end_of(path: pathlib.Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-8:])
    except OSError as failure:
        return str(failure)


def recorded_etcd(home: Home) -> str:
    """The version of the etcd that the home was last started with; empty when it was not."""
    try:
        return str(msgspec.json.decode(home.context_file.read_bytes()).get("etcdVersion", ""))
    except (OSError, AttributeError, msgspec.DecodeError):
        return ""
