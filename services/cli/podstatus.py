"""The READY, STATUS and RESTARTS of a pod, by the rules of kubectl's printer.

Source: kubernetes ``pkg/printers/internalversion/printers.go``, printPod.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.cli import ages


@dataclass(frozen=True)
class PodSummary:
    ready: str
    status: str
    restarts: str


def summarize(pod: Any, now: float) -> PodSummary:
    """``now``: seconds since the epoch, for how long ago the last restart was."""
    statuses = pod.status.container_statuses
    ready = sum(status.ready for status in statuses)
    restarts = sum(status.restart_count for status in statuses)
    initializing = _init_reason(pod)
    reason = initializing or _container_reason(pod) or _phase(pod)
    if pod.metadata.HasField("deletion_timestamp"):
        reason = "Unknown" if pod.status.reason == "NodeLost" else "Terminating"
    if initializing:
        restarts = sum(status.restart_count for status in pod.status.init_container_statuses)
    return PodSummary(f"{ready}/{len(pod.spec.containers)}", reason, _restarts(statuses, restarts, now))


def _phase(pod: Any) -> str:
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            return "SchedulingGated"
    if pod.spec.scheduling_gates and not pod.spec.node_name:
        return "SchedulingGated"
    return pod.status.reason or pod.status.phase or "Unknown"


def _init_reason(pod: Any) -> str:
    total = len(pod.spec.init_containers)
    for position, status in enumerate(pod.status.init_container_statuses):
        state = status.state
        if state.HasField("terminated"):
            if state.terminated.exit_code == 0:
                continue
            return f"Init:{_terminated(state.terminated)}"
        if state.HasField("waiting") and state.waiting.reason not in ("", "PodInitializing"):
            return f"Init:{state.waiting.reason}"
        if status.started and status.ready:
            continue
        return f"Init:{position}/{total}"
    return ""


def _container_reason(pod: Any) -> str:
    reason, running = "", False
    for status in reversed(pod.status.container_statuses):
        state = status.state
        if state.HasField("waiting") and state.waiting.reason:
            reason = str(state.waiting.reason)
        elif state.HasField("terminated"):
            reason = _terminated(state.terminated)
        elif status.ready and state.HasField("running"):
            running = True
    if reason == "Completed" and running:
        ready = any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)
        return "Running" if ready else "NotReady"
    return reason


def _terminated(state: Any) -> str:
    if state.reason:
        return str(state.reason)
    return f"Signal:{state.signal}" if state.signal else f"ExitCode:{state.exit_code}"


def _restarts(statuses: Any, restarts: int, now: float) -> str:
    ends = [status.last_state.terminated.finished_at for status in statuses if status.last_state.HasField("terminated")]
    if not restarts or not ends:
        return str(restarts)
    last = max(ends, key=lambda end: (end.seconds, end.nanos))
    return f"{restarts} ({ages.since(last, now)} ago)"
