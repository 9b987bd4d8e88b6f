"""The status that a kubelet reports for a pod: a function of what it remembers and of the status that is there.

Conditions and fields that are not the kubelet's are kept (PodScheduled, the QoS class, what controllers add): the
conditions by the server, as it knows them by then. A condition's transition time moves only when its status does.
(``pkg/kubelet/status/generate.go``.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from services.api.conditions import NODE_NOT_READY
from services.api.pb.ursa.core.v1.pod_pb2 import (
    Container,
    ContainerState,
    ContainerStatus,
    Pod,
    PodCondition,
    PodStatus,
)
from services.kubelet import containerstatus
from services.kubelet.containers import ContainerPod
from services.kubelet.worker import PodWorker, Stage

TRUE, FALSE = "True", "False"
OWN_CONDITIONS = frozenset({"Initialized", "ContainersReady", "Ready"})


class NodeFacts(NamedTuple):
    """What of the node appears in the status of its pods."""

    name: str
    resource_partition: str
    host_ip: str
    runtime: str

    def __str__(self) -> str:
        """As nodes are named where two partitions may have one of the same name."""
        return f"{self.resource_partition}/{self.name}"


class _Condition(NamedTuple):
    type: str
    status: str
    reason: str = ""
    message: str = ""


def build(worker: PodWorker, node: NodeFacts, now_s: float, *, lost: bool = False) -> PodStatus:
    """The whole status, equal for equal arguments as long as no condition changes. ``lost``: its node's lease is not
    kept, so that a mark of the node life cycle stays on it until it has ended."""
    status = PodStatus()
    status.CopyFrom(worker.pod.status)
    status.phase = phase_of(worker)
    status.reason, status.message = worker.reason, worker.message
    status.observed_generation = worker.pod.metadata.generation
    status.start_time.seconds, status.start_time.nanos = int(worker.start_s), 0
    _set_addresses(status, worker, node)
    _set_conditions(status, worker, int(now_s), keep_mark=lost and worker.stage is not Stage.ENDED)
    del status.container_statuses[:]
    status.container_statuses.extend(_container(worker, node, spec) for spec in worker.pod.spec.containers)
    del status.init_container_statuses[:]
    if isinstance(worker, ContainerPod):
        told = (containerstatus.of(worker, spec, node.runtime) for spec in worker.pod.spec.init_containers)
        status.init_container_statuses.extend(told)
    elif worker.stage is not Stage.STARTING and worker.container_started_s:
        status.init_container_statuses.extend(_init(worker, node, spec) for spec in worker.pod.spec.init_containers)
    return status


def keep_own(status: PodStatus) -> None:
    """Leave the conditions that a kubelet speaks of. The server keeps the others as they are by then: a readiness gate
    may have changed since this status' pod was seen."""
    own = [condition for condition in status.conditions if condition.type in OWN_CONDITIONS]
    if len(own) < len(status.conditions):
        del status.conditions[:]
        status.conditions.extend(own)


def is_marked(status: PodStatus) -> bool:
    """The node life cycle says that the pod is not ready, because its node is not."""
    return any(_is_mark(condition) for condition in status.conditions)


def phase_of(worker: PodWorker) -> str:
    if worker.phase and worker.stage is Stage.ENDED:
        return worker.phase
    return "Running" if worker.container_started_s else "Pending"


def _set_addresses(status: PodStatus, worker: PodWorker, node: NodeFacts) -> None:
    status.host_ip = node.host_ip
    del status.host_ips[:]
    status.host_ips.add(ip=node.host_ip)
    address = node.host_ip if worker.pod.spec.host_network else worker.pod_ip
    if address and worker.container_started_s:
        status.pod_ip = address
        del status.pod_ips[:]
        status.pod_ips.add(ip=address)


def _is_mark(condition: PodCondition) -> bool:
    return condition.type == "Ready" and condition.status == FALSE and condition.reason == NODE_NOT_READY


def _set_conditions(status: PodStatus, worker: PodWorker, now: int, *, keep_mark: bool) -> None:
    existing = {condition.type: condition for condition in status.conditions}
    for wanted in _conditions(worker):
        condition = existing.get(wanted.type)
        if condition is None:
            condition = status.conditions.add(type=wanted.type)
        if keep_mark and _is_mark(condition):
            continue
        if condition.status != wanted.status:
            condition.status = wanted.status
            condition.last_transition_time.seconds, condition.last_transition_time.nanos = now, 0
        condition.reason, condition.message = wanted.reason, wanted.message
        condition.observed_generation = worker.pod.metadata.generation


def _conditions(worker: PodWorker) -> Iterator[_Condition]:
    ended = worker.stage is Stage.ENDED
    if ended and not worker.container_started_s:
        # Refused, or ended before it started: nothing was ever initialized or ready.
        return
    if ended:
        reason = "PodCompleted" if worker.phase == "Succeeded" else "PodFailed"
        yield _Condition("Initialized", TRUE, "PodCompleted" if worker.phase == "Succeeded" else "")
        yield _Condition("ContainersReady", FALSE, reason)
        yield _Condition("Ready", FALSE, reason)
        return
    yield (
        _Condition("Initialized", TRUE)
        if _initialized(worker)
        else (_Condition("Initialized", FALSE, "ContainersNotInitialized"))
    )
    unready = _unready(worker)
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        yield _Condition("ContainersReady", FALSE, "ContainersNotReady", message)
        yield _Condition("Ready", FALSE, "ContainersNotReady", message)
        return
    yield _Condition("ContainersReady", TRUE)
    missing = _missing_gates(worker.pod)
    if missing:
        yield _Condition("Ready", FALSE, "ReadinessGatesNotReady", f"readiness gates not True: {', '.join(missing)}")
    else:
        yield _Condition("Ready", TRUE)


def _initialized(worker: PodWorker) -> bool:
    if isinstance(worker, ContainerPod):
        return worker.initialized
    return bool(worker.container_started_s) or not worker.pod.spec.init_containers


def _unready(worker: PodWorker) -> list[str]:
    """Names of the containers that do not run."""
    if isinstance(worker, ContainerPod) and worker.stage is not Stage.STOPPING:
        return worker.unready()
    if worker.stage is Stage.RUNNING:
        return []
    return [container.name for container in worker.pod.spec.containers]


def _missing_gates(pod: Pod) -> list[str]:
    if not pod.spec.readiness_gates:
        return []
    true = {condition.type for condition in pod.status.conditions if condition.status == TRUE}
    return [gate.condition_type for gate in pod.spec.readiness_gates if gate.condition_type not in true]


def _container(worker: PodWorker, node: NodeFacts, spec: Container) -> ContainerStatus:
    if isinstance(worker, ContainerPod):
        return containerstatus.of(worker, spec, node.runtime)
    running = worker.stage is Stage.RUNNING
    status = ContainerStatus(
        name=spec.name,
        image=spec.image,
        ready=running,
        started=running,
        restart_count=worker.restart_count,
        state=_state(worker, node, spec),
    )
    if worker.container_started_s:
        status.image_id = spec.image
        status.container_id = _container_id(worker, node, spec, worker.restart_count)
    if worker.last_finished_s:
        terminated = status.last_state.terminated
        terminated.exit_code = worker.last_exit_code
        terminated.reason = _exit_reason(worker.last_exit_code)
        terminated.started_at.seconds = int(worker.last_started_s)
        terminated.finished_at.seconds = int(worker.last_finished_s)
        terminated.container_id = _container_id(worker, node, spec, max(0, worker.restart_count - 1))
    return status


def _state(worker: PodWorker, node: NodeFacts, spec: Container) -> ContainerState:
    state = ContainerState()
    if worker.stage is Stage.STARTING and not worker.container_started_s:
        state.waiting.reason = "ContainerCreating"
    elif worker.stage is Stage.BACKOFF or worker.stage is Stage.STARTING:
        state.waiting.reason = "CrashLoopBackOff"
    elif worker.stage is Stage.ENDED and worker.container_started_s:
        terminated = state.terminated
        terminated.exit_code = worker.exit_code
        terminated.reason = _exit_reason(worker.exit_code)
        terminated.started_at.seconds = int(worker.container_started_s)
        terminated.finished_at.seconds = int(worker.finished_s)
        terminated.container_id = _container_id(worker, node, spec, worker.restart_count)
    elif worker.stage is Stage.ENDED or not worker.container_started_s:
        state.waiting.reason = worker.reason or "ContainerCreating"
    else:
        state.running.started_at.seconds = int(worker.container_started_s)
    return state


def _init(worker: PodWorker, node: NodeFacts, spec: Container) -> ContainerStatus:
    sidecar = spec.restart_policy == "Always"
    running = sidecar and worker.stage is Stage.RUNNING
    status = ContainerStatus(
        name=spec.name,
        image=spec.image,
        image_id=spec.image,
        ready=running or not sidecar,
        started=running,
        container_id=_container_id(worker, node, spec, 0),
    )
    if running:
        status.state.running.started_at.seconds = int(worker.container_started_s)
    else:
        terminated = status.state.terminated
        terminated.reason = "Completed"
        terminated.started_at.seconds = int(worker.start_s)
        terminated.finished_at.seconds = int(worker.finished_s if sidecar else worker.container_started_s)
    return status


def _container_id(worker: PodWorker, node: NodeFacts, spec: Container, restart: int) -> str:
    return f"{node.runtime}://{worker.uid}/{spec.name}/{restart}"


def _exit_reason(exit_code: int) -> str:
    return "Completed" if exit_code == 0 else "Error"
