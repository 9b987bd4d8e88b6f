"""Figures of a run, and why it does not count. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from services.bench.heartbeat import leases
from services.bench.heartbeat.hosts import KubeletHost
from services.bench.heartbeat.parameters import HeartbeatParameters
from services.bench.heartbeat.renewals import Counted
from services.bench.heartbeat.window import Window
from services.bench.heartbeat.witness import Witness
from services.bench.report import Figure, Report

PER_NODES = 10_000
# What kubelets were told is stored and what etcd has written differ by what is under way at both ends.
COUNT_TOLERANCE = 0.02
IN_FLIGHT_S = 0.5


def evaluate(
    parameters: HeartbeatParameters,
    witness: Witness,
    counted: Counted,
    window: Window,
    hosts: list[KubeletHost],
    machine: Mapping[str, str],
) -> Report:
    """``window``: the time in which all nodes were held Ready; the observation began before the first node came.
    ``machine``: what the result says of the cluster beside the machine."""
    report = Report("heartbeat", asdict(parameters), machine=dict(machine))
    nodes = len(witness.nodes)
    stored = sum(counted.stored.values())
    report.figures = _nodes(parameters, witness) | _renewals(parameters, counted, nodes)
    report.figures |= _cost(window, nodes, max(stored, 1) / counted.stored_s) | _memory(window, nodes, hosts)
    report.figures = {name: figure for name, figure in report.figures.items() if math.isfinite(figure.value)}
    report.invalid = "; ".join(problems(parameters, witness, counted))
    report.extra = {"renewal_verb": counted.verb, "watch_reconnects": witness.reconnects}
    return report


def problems(parameters: HeartbeatParameters, witness: Witness, counted: Counted) -> list[str]:
    """Why the run does not count; the first of each kind, and how many more."""
    found = []
    if witness.violations:
        more = f" and {len(witness.violations) - 1} more" if len(witness.violations) > 1 else ""
        found.append(f"{witness.violations[0]}{more}")
    if witness.ready != parameters.nodes:
        found.append(f"{parameters.nodes - witness.ready} of {parameters.nodes} nodes are not Ready at the end")
    least = leases.least_due(counted.stored_s, parameters.renew_seconds, parameters.lease_seconds)
    late = [node for node, number in counted.stored.items() if number < least]
    if late:
        found.append(
            f"{len(late)} leases were written less than {least} times, {late[0]} {counted.stored[late[0]]} times"
        )
    if len(counted.stored) != parameters.nodes:
        found.append(f"etcd has leases of {len(counted.stored)} nodes, not of {parameters.nodes}")
    stored = sum(counted.stored.values())
    # Those that were stored before the first reading, and acknowledged after it.
    under_way = IN_FLIGHT_S * parameters.nodes / parameters.renew_seconds
    if counted.acknowledged > stored * (1 + COUNT_TOLERANCE) + under_way:
        found.append(f"{counted.acknowledged:,.0f} renewals were acknowledged, and {stored:,} stored")
    return found


def _nodes(parameters: HeartbeatParameters, witness: Witness) -> dict[str, Figure]:
    took_s = witness.joined_s
    return {
        "nodes_held_ready": Figure(float(witness.ready), "nodes"),
        "nodes_joined_in": Figure(took_s, "s"),
        "nodes_ready_per_second": Figure(parameters.nodes / took_s if took_s > 0 else math.nan, "nodes/s"),
        "node_violations": Figure(float(len(witness.violations)), "events"),
    }


def _renewals(parameters: HeartbeatParameters, counted: Counted, nodes: int) -> dict[str, Figure]:
    due = nodes / parameters.renew_seconds
    stored = sum(counted.stored.values())
    return {
        "renewals_due_per_second": Figure(due, "1/s"),
        "renewals_acknowledged_per_second": Figure(counted.acknowledged / counted.counted_s, "1/s", due, "due"),
        "renewals_served_per_second": Figure(counted.served / counted.counted_s, "1/s", due, "due"),
        "renewals_stored_per_second": Figure(stored / counted.stored_s, "1/s", due, "due"),
        "renewals_failed": Figure(counted.failed, "renewals"),
        "renewals_of_a_node_least": Figure(float(min(counted.stored.values(), default=0)), "renewals"),
        "renewal_request_p50": Figure(counted.seconds.quantile(0.5) * 1000.0, "ms"),
        "renewal_request_p99": Figure(counted.seconds.quantile(0.99) * 1000.0, "ms"),
    }


def _cost(window: Window, nodes: int, stored_per_s: float) -> dict[str, Figure]:
    """Bytes of the window go by the heartbeats of a time as long."""
    stored = stored_per_s * window.seconds
    servers, etcds = window.of("resource-partition"), window.of("etcd", "rp-")
    per = PER_NODES / nodes

    def cores(names: list[str]) -> Figure:
        return Figure(window.cores(names) * per, "cores")

    return {
        "heartbeat_cpu_per_10000_nodes": cores([*servers, *etcds]),
        "server_cpu_per_10000_nodes": cores(servers),
        "etcd_cpu_per_10000_nodes": cores(etcds),
        "controller_cpu_per_10000_nodes": cores(window.of("controllers", "rp-")),
        "kubelet_cpu_per_10000_nodes": cores(window.of("kubelet", "kubelet-")),
        "wal_bytes_per_heartbeat": Figure(window.wal_bytes() / stored, "B"),
        "wal_metric_ratio": Figure(window.wal_metric_ratio(), "×"),
        "disk_bytes_per_heartbeat": Figure(window.written_bytes(etcds) / stored, "B"),
    }


def _memory(window: Window, nodes: int, hosts: list[KubeletHost]) -> dict[str, Figure]:
    """What came with the nodes: at the end, less what was there before the first one. A kubelet host has no before: a
    like process with one node (the one-box's own) stands in for it."""

    def grown(names: list[str]) -> Figure:
        before = window.resident_bytes(names, 0.0)
        return Figure((window.resident_bytes(names, window.to_s) - before) / nodes, "B")

    names = [host.name for host in hosts]
    empty = window.resident_bytes([name for name in window.of("kubelet") if name not in names], window.from_s)
    kubelets = window.resident_bytes(names, window.to_s) - empty * len(names)
    return {
        "server_bytes_per_node": grown(window.of("resource-partition")),
        "etcd_bytes_per_node": grown(window.of("etcd", "rp-")),
        "controller_bytes_per_node": grown(window.of("controllers", "rp-")),
        "kubelet_bytes_per_node": Figure(kubelets / nodes, "B"),
    }
