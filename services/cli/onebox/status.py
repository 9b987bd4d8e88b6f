"""``ursa status``: one object of partitions, components, nodes and pods, whatever of it is down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from services.cli import context as contexts
from services.cli.cluster import Cluster
from services.cli.context import Context, Partition
from services.cli.onebox import control, health
from services.cli.onebox.health import Health
from services.cli.onebox.home import Home
from services.cli.onebox.state import ComponentState, SupervisorState, load
from services.cli.running import run


@dataclass(frozen=True)
class Status:
    """``running``: a supervisor answered, or (for a cluster that is no one-box) any partition did."""

    running: bool
    ready: bool
    document: dict[str, Any]


def supervisor_state(home: Home, *, fresh: bool = True) -> SupervisorState | None:
    """What the supervisor says now; None when it is not running. Raises ``CliError`` for a broken answer."""
    try:
        answers = list(control.ask(home.socket_file, control.Request("status", fresh=fresh)))
    except control.NotRunning:
        return None
    return msgspec.convert(answers[0], SupervisorState) if answers else None


def last_state(home: Home) -> SupervisorState | None:
    """The state that a supervisor that is gone has left, without its processes."""
    return load(home.state_file)


def gather(home: Home, context: Context) -> Status:
    """Ask the supervisor and every partition."""
    state = supervisor_state(home)
    seen = run(_health(context))
    return assemble(context, state, seen, last=last_state(home))


def assemble(
    context: Context, state: SupervisorState | None, seen: Health, *, last: SupervisorState | None = None
) -> Status:
    """The status object from what was heard. ``last``: components to name when no supervisor runs. Pure."""
    components = (
        list(state.components) if state else [_gone(component) for component in (last.components if last else ())]
    )
    by_name = {component.name: component for component in components}
    partitions = [_partition(partition, by_name, seen) for partition in context.partitions]
    ready = all(entry["ready"] for entry in partitions) and all(component.ready for component in components)
    document = {
        "partitions": partitions,
        "components": [_component(component) for component in components],
        "nodes": {name: {"total": count.total, "ready": count.ready} for name, count in seen.nodes.items()},
        "pods": seen.pods,
    }
    reachable = len(seen.unreachable) < len(context.partitions)
    return Status(running=state is not None or reachable, ready=ready, document=document)


def _gone(component: ComponentState) -> ComponentState:
    return ComponentState(
        component.name, component.kind, component.partition, restarts=component.restarts, ports=component.ports
    )


def _partition(partition: Partition, components: dict[str, ComponentState], seen: Health) -> dict[str, Any]:
    reason = seen.unreachable.get(partition.name, "")
    # What the supervisor knows of a process says more than that nobody answers at its port.
    for name in (f"etcd-{partition.name}", partition.name):
        if name in components and not components[name].ready:
            reason = f"{name} {_trouble(components[name])}"
    entry = {
        "name": partition.name,
        "kind": partition.kind,
        "endpoint": partition.endpoint,
        "etcd": partition.etcd,
        "metrics": partition.metrics,
        "ready": not reason,
    }
    return entry | ({"reason": reason} if reason else {})


def _trouble(component: ComponentState) -> str:
    return f"is {component.phase}" + (f": {component.detail}" if component.detail else "")


def _component(component: ComponentState) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": component.name,
        "kind": component.kind,
        "partition": component.partition,
        "pid": component.pid or None,
        "ready": component.ready,
        "restarts": component.restarts,
        "state": component.phase,
        "since": component.since,
        "ports": component.ports,
    }
    extra = {"lastExit": component.last_exit, "reason": component.detail}
    return entry | {name: text for name, text in extra.items() if text}


async def _health(context: Context) -> Health:
    async with Cluster(context, timeouts=health.TIMEOUTS) as cluster:
        return await health.ask(cluster)


def context_of(home: Home) -> Context:
    """The home's context file. Raises ``UsageError`` when nothing was ever started there."""
    return contexts.load(home.context_file)
