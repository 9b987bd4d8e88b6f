"""``ursa up``: start a one-box, wait until everything is ready, apply the examples, say what there is."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from services.base.clock import SystemClock
from services.cli.cluster import Cluster
from services.cli.context import Context
from services.cli.errors import CliError, Refused
from services.cli.onebox import etcd_binary, examples, health, launch
from services.cli.onebox.health import Health
from services.cli.onebox.home import Home
from services.cli.onebox.plan import Options
from services.cli.onebox.progress import Progress
from services.cli.onebox.state import SupervisorState
from services.cli.onebox.status import context_of, supervisor_state
from services.cli.running import run
from services.cli.waiting import until, until_async

PAUSE_S = 0.2


@dataclass(frozen=True)
class Wanted:
    """What the person asked for: ``asked`` are options by name, None where not given."""

    home: Home
    asked: dict[str, object]
    examples: bool = True
    wait_s: float = 120.0


class NotReady(CliError):
    """The cluster did not become ready in time; it goes on starting."""


def up(wanted: Wanted, progress: Progress) -> tuple[Context, Health]:
    """Bring the cluster up, or find it running. Raises ``CliError``."""
    home = wanted.home
    options = launch.chosen(home, wanted.asked)
    began = SystemClock().monotonic()
    deadline = began + wanted.wait_s
    if supervisor_state(home, fresh=False) is None:
        start(home, options, progress)
    else:
        _same_or_refuse(home, options)
        progress.done(f"already running ({home.root})")
    _wait_for_components(home, progress, deadline)
    context = context_of(home)
    with_examples = wanted.examples and options.runtime == "hollow"
    if options.runtime == "process":
        _tell_of_processes(wanted.examples, progress)
    seen = run(_settle(context, options, with_examples, progress, deadline))
    progress.done(f"ready after {SystemClock().monotonic() - began:.1f} s")
    return context, seen


def _tell_of_processes(examples_asked: bool, progress: Progress) -> None:
    user = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"
    progress.warn(f"--runtime process: commands of pods run on this machine as {user}, without isolation")
    if examples_asked:
        progress.done("examples are not applied: they name images, and the process runtime runs commands")


async def _settle(
    context: Context, options: Options, with_examples: bool, progress: Progress, deadline: float
) -> Health:
    """Wait for nodes and examples; what there is in the end."""
    async with Cluster(context, timeouts=health.TIMEOUTS) as cluster:
        await _wait_for_nodes(cluster, options, progress, deadline)
        if with_examples:
            await examples.settle(cluster, progress, deadline)
        return await health.ask(cluster)


def start(home: Home, options: Options, progress: Progress) -> None:
    """Start the supervisor of a home where none runs."""
    _make(home)
    left = launch.end_leftovers(home)
    if left:
        progress.warn(f"ended {left} processes of an earlier run whose supervisor had died")
    etcd = etcd_binary.find(progress.now)
    progress.done(f"etcd {etcd.version_text} ({etcd.path}, {etcd.origin})")
    for warning in etcd.warnings():
        progress.warn(warning)
    made = launch.prepare(home, options, etcd)
    launch.detach(home)
    progress.done(f"{len(made.components)} components started, data in {home.root}")


def _make(home: Home) -> None:
    try:
        home.make()
    except OSError as failure:
        message = f"{home.root} cannot be made: {failure.strerror}"
        raise Refused(message, hint="choose another place with --home") from failure


def _same_or_refuse(home: Home, options: Options) -> None:
    before = launch.recorded(home)
    changed = launch.differences(before, options) if before else []
    if changed:
        raise Refused(
            f"the cluster is running with {', '.join(changed)}",
            hint="`ursa down` first, then `ursa up` with the new settings; its data stays",
        )


def _wait_for_components(home: Home, progress: Progress, deadline: float) -> None:
    announced: set[str] = set()

    def all_ready() -> bool:
        state = supervisor_state(home, fresh=False)
        if state is None:
            raise CliError("the supervisor has ended", hint=f"see {home.log('supervisor')}")
        for component in state.components:
            if component.ready and component.name not in announced:
                announced.add(component.name)
        progress.now(_waiting_text(state))
        return state.ready

    if until(all_ready, deadline - SystemClock().monotonic(), pause_s=PAUSE_S):
        progress.done(f"{len(announced)} components ready")
        return
    state = supervisor_state(home)
    late = [component for component in state.components if not component.ready] if state else []
    reasons = "\n  ".join(
        f"{component.name}: {component.phase}, {component.restarts} restarts; {component.detail or 'not ready'}"
        for component in late
    )
    name = late[0].name if late else "supervisor"
    raise NotReady(
        f"not ready in time:\n  {reasons}", hint=f"see `ursa logs component/{name}`; the cluster goes on starting"
    )


def _waiting_text(state: SupervisorState) -> str:
    late = [component.name for component in state.components if not component.ready]
    ready = len(state.components) - len(late)
    return f"{ready}/{len(state.components)} components ready" + (f", waiting for {', '.join(late)}" if late else "")


async def _wait_for_nodes(cluster: Cluster, options: Options, progress: Progress, deadline: float) -> None:
    seen: list[Health] = []

    async def all_ready() -> bool:
        seen.append(await health.ask(cluster))
        progress.now(f"nodes ready: {_counts(seen[-1], options)}")
        return all(count.ready >= options.nodes for count in seen[-1].nodes.values())

    if not await until_async(all_ready, deadline - SystemClock().monotonic(), pause_s=PAUSE_S):
        kubelets = "kubelet" if options.runtime == "process" else "hollow"
        hint = f"see `ursa logs component/{kubelets}` and `ursa get nodes`; the cluster goes on starting"
        raise NotReady(f"not all nodes became Ready in time: {_counts(seen[-1], options)}", hint=hint)
    progress.done(f"{options.nodes * options.resource_partitions} nodes Ready ({_counts(seen[-1], options)})")


def _counts(seen: Health, options: Options) -> str:
    return ", ".join(f"{name} {count.ready}/{options.nodes}" for name, count in seen.nodes.items())
