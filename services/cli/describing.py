"""The text of ``ursa describe``: kubectl's layout for pods and nodes, the object's own fields for other kinds. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.api import kinds, manifests
from services.api.selectors import LabelSelector
from services.cli import ages, capacity, columns, output, podstatus
from services.cli.items import Item

NONE = "<none>"
INDENT = "  "
HIDDEN = ("kubectl.kubernetes.io/last-applied-configuration",)


def describe(item: Item, events: Sequence[Any], now: float, ledger: Any = None) -> list[str]:
    """``events``: those about this object; ``now``: seconds since the epoch; ``ledger``: a node's CapacityLedger."""
    body = _BODIES.get(item.kind.resource, _other)
    lines = [*_head(item), *body(item, now)]
    if ledger is not None:
        lines += _claimed(ledger)
    if item.kind in (kinds.PODS, kinds.NODES, kinds.NAMESPACES, kinds.REPLICA_SETS):
        lines += _events(events, now)
    return lines


def _head(item: Item) -> list[str]:
    metadata = item.metadata
    lines = [_line("Name", metadata.name)]
    if metadata.tenant:
        lines.append(_line("Tenant", f"{metadata.tenant} (on {item.partition.name})"))
    else:
        lines.append(_line("Partition", item.partition.name))
    if metadata.namespace:
        lines.append(_line("Namespace", metadata.namespace))
    annotations = {key: value for key, value in metadata.annotations.items() if key not in HIDDEN}
    lines += [*_pairs("Labels", metadata.labels), *_pairs("Annotations", annotations)]
    lines.append(_line("Created", _time(metadata.creation_timestamp)))
    if metadata.HasField("deletion_timestamp"):
        lines.append(_line("Deleted", f"{_time(metadata.deletion_timestamp)} (terminating)"))
    return lines


def _pod(item: Item, now: float) -> list[str]:
    pod = item.object
    spec, status = pod.spec, pod.status
    node = f"{spec.resource_partition}/{spec.node_name}" if spec.node_name else NONE
    lines = [
        _line("Priority", str(spec.priority) + (f" ({spec.priority_class_name})" if spec.priority_class_name else "")),
        _line("Node", node + (f" ({status.host_ip})" if status.host_ip else "")),
        _line("Start Time", _time(status.start_time)),
        _line("Status", podstatus.summarize(pod, now).status),
    ]
    if status.reason or status.message:
        lines += [_line("Reason", status.reason or NONE), _line("Message", status.message or NONE)]
    lines += [_line("IP", status.pod_ip or NONE), _line("QoS Class", status.qos_class or NONE)]
    if spec.init_containers:
        lines += _containers("Init Containers", spec.init_containers, status.init_container_statuses)
    lines += _containers("Containers", spec.containers, status.container_statuses)
    conditions = [(one.type, one.status, one.reason) for one in status.conditions]
    lines += _table("Conditions", ("Type", "Status", "Reason"), conditions)
    lines += _pairs("Node-Selectors", spec.node_selector)
    lines += _several("Tolerations", [_toleration(one) for one in spec.tolerations])
    return lines


def _node(item: Item, now: float) -> list[str]:
    node = item.object
    info = node.status.node_info
    lines = [
        _line("Status", columns.node_status(node)),
        _line("Roles", columns.node_roles(node)),
        *_several("Taints", [_taint(one) for one in node.spec.taints]),
        _line("Unschedulable", str(node.spec.unschedulable).lower()),
    ]
    lines += _table(
        "Conditions",
        ("Type", "Status", "LastHeartbeat", "Reason", "Message"),
        [
            (one.type, one.status, ages.since(one.last_heartbeat_time, now), one.reason, one.message)
            for one in node.status.conditions
        ],
    )
    lines += _several("Addresses", [f"{one.type}: {one.address}" for one in node.status.addresses])
    names = sorted({*node.status.capacity, *node.status.allocatable})
    amounts = [(name, node.status.capacity.get(name, ""), node.status.allocatable.get(name, "")) for name in names]
    lines += _table("Resources", ("Name", "Capacity", "Allocatable"), amounts)
    lines += [
        _line("OS", f"{info.os_image or info.operating_system or NONE} ({info.architecture or 'unknown'})"),
        _line("Runtime", info.container_runtime_version or NONE),
        _line("Kubelet", info.kubelet_version or NONE),
    ]
    return lines


def _replica_set(item: Item, now: float) -> list[str]:
    one = item.object
    spec, status = one.spec, one.status
    owner = next((ref for ref in item.metadata.owner_references if ref.controller), None)
    lines = [_line("Controlled By", f"{owner.kind}/{owner.name}")] if owner is not None else []
    lines += [
        _line("Selector", str(LabelSelector.from_message(spec.selector))),
        _line("Replicas", f"{status.replicas} current / {spec.replicas} desired"),
        _line("Ready", f"{status.ready_replicas} ready / {status.available_replicas} available"),
        _line("Terminating", str(status.terminating_replicas)),
        "Pod Template:",
    ]
    template = spec.template
    body = [*_pairs("Labels", template.metadata.labels), *_pairs("Annotations", template.metadata.annotations)]
    if template.spec.init_containers:
        body += _containers("Init Containers", template.spec.init_containers, ())
    body += _containers("Containers", template.spec.containers, ())
    body += _pairs("Node-Selectors", template.spec.node_selector)
    body += _several("Tolerations", [_toleration(one) for one in template.spec.tolerations])
    lines += [INDENT + line for line in body]
    conditions = [(one.type, one.status, one.reason, one.message) for one in status.conditions]
    return lines + (_table("Conditions", ("Type", "Status", "Reason", "Message"), conditions) if conditions else [])


def _claimed(ledger: Any) -> list[str]:
    """What the tenant partitions have claimed of a node: nobody can bind more than what is left of it."""
    claimed = capacity.claimed(ledger)
    rows = [
        (name, capacity.amount(name, claimed.get(name, 0)), capacity.amount(name, ledger.allocatable.get(name, 0)))
        for name in sorted({*claimed, *ledger.allocatable})
    ]
    lines = _table("Claimed", ("Name", "Claimed", "Allocatable"), rows)
    holders = [(one.tenant_partition, str(one.pods), capacity.amounts(one.requests)) for one in ledger.claimed]
    if holders:
        lines += _table("Claimed by", ("Partition", "Pods", "Requests"), holders)
    if ledger.promises:
        promised = [
            (one.pod_uid, one.tenant_partition, capacity.amounts(one.requests), str(len(one.waits_for)))
            for one in ledger.promises
        ]
        lines += _table("Promised", ("Pod UID", "Partition", "Requests", "Waits for"), promised)
    return lines


def _other(item: Item, now: float) -> list[str]:
    document = manifests.to_dict(item.kind, item.object)
    rest = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    return output.as_yaml(rest).splitlines() if rest else []


def _containers(title: str, containers: Iterable[Any], statuses: Iterable[Any]) -> list[str]:
    states = {status.name: status for status in statuses}
    lines = [f"{title}:"]
    for container in containers:
        lines.append(f"{INDENT}{container.name}:")
        facts = [("Image", container.image)]
        if container.ports:
            ports = [f"{one.container_port}/{one.protocol or 'TCP'}" for one in container.ports]
            facts.append(("Ports", ", ".join(ports)))
        if container.command:
            facts.append(("Command", " ".join(container.command)))
        if container.args:
            facts.append(("Args", " ".join(container.args)))
        if container.name in states:
            facts += _state(states[container.name])
        for name, amounts in (("Limits", container.resources.limits), ("Requests", container.resources.requests)):
            if amounts:
                facts.append((name, ", ".join(f"{key}={value}" for key, value in sorted(amounts.items()))))
        lines += [f"{INDENT * 2}{name + ':':<15}{value}" for name, value in facts]
    return lines


def _state(status: Any) -> list[tuple[str, str]]:
    state = status.state
    if state.HasField("running"):
        text = f"Running since {_time(state.running.started_at)}"
    elif state.HasField("terminated"):
        text = f"Terminated: {state.terminated.reason or 'exit code ' + str(state.terminated.exit_code)}"
    elif state.HasField("waiting"):
        text = f"Waiting: {state.waiting.reason or 'unknown'}"
    else:
        text = "unknown"
    return [("State", text), ("Ready", str(status.ready)), ("Restarts", str(status.restart_count))]


def _toleration(one: Any) -> str:
    value = f"={one.value}" if one.value else ""
    effect = f":{one.effect}" if one.effect else ""
    operator = " op=Exists" if one.operator == "Exists" else ""
    seconds = f" for {one.toleration_seconds}s" if one.HasField("toleration_seconds") else ""
    return f"{one.key or '*'}{value}{effect}{operator}{seconds}"


def _taint(one: Any) -> str:
    return f"{one.key}{'=' + one.value if one.value else ''}:{one.effect}"


def _events(events: Sequence[Any], now: float) -> list[str]:
    rows = [
        (
            one.type or NONE,
            one.reason or NONE,
            columns.event_seen(one, now) + (f" (x{one.count})" if one.count > 1 else ""),
            one.source.component or one.reporting_component or NONE,
            " ".join(one.message.split()),
        )
        for one in sorted(events, key=lambda event: event.metadata.creation_timestamp.seconds)
    ]
    return _table("Events", ("Type", "Reason", "Age", "From", "Message"), rows)


def _line(name: str, value: str) -> str:
    return f"{name + ':':<16}{value}"


def _pairs(name: str, pairs: Mapping[str, str]) -> list[str]:
    return _several(name, [f"{key}={value}" for key, value in sorted(pairs.items())])


def _several(name: str, values: Sequence[str]) -> list[str]:
    first, *rest = values or [NONE]
    return [_line(name, first), *(" " * 16 + value for value in rest)]


def _table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return [_line(name, NONE)]
    return [f"{name}:", *(INDENT + line for line in output.table(header, rows))]


def _time(timestamp: Any) -> str:
    if not timestamp.seconds:
        return NONE
    moment = datetime.datetime.fromtimestamp(timestamp.seconds, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


_BODIES = {kinds.PODS.resource: _pod, kinds.NODES.resource: _node, kinds.REPLICA_SETS.resource: _replica_set}
