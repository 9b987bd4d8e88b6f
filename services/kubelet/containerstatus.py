"""The status of a container that is run by itself (``pkg/kubelet/kubelet_pods.go``, convertToAPIContainerStatuses)."""

from __future__ import annotations

from services.api.pb.ursa.core.v1.pod_pb2 import Container, ContainerStateTerminated, ContainerStatus
from services.kubelet.containers import ContainerPod, ContainerRun, Ended, Step


def of(worker: ContainerPod, spec: Container, runtime: str) -> ContainerStatus:
    """``runtime``: as in container ids, which are ``<runtime>://<pod UID>/<container>/<restart>``."""
    run = worker.containers[spec.name]
    running = run.step is Step.RUNNING
    status = ContainerStatus(
        name=spec.name,
        image=spec.image,
        ready=run.succeeded if run.init and not run.sidecar else running,
        started=running,
        restart_count=run.restart_count,
    )
    if run.begun:
        status.image_id = spec.image
        status.container_id = _id(worker, run, runtime, run.restart_count)
    _set_state(status, worker, run, runtime)
    last = run.ended if status.state.HasField("waiting") and run.ended is not None else run.last
    if last is not None:
        _tell(status.last_state.terminated, last, _id(worker, run, runtime, last.restart))
    return status


def _set_state(status: ContainerStatus, worker: ContainerPod, run: ContainerRun, runtime: str) -> None:
    state = status.state
    if run.step is Step.RUNNING:
        state.running.started_at.seconds = int(run.started_s)
    elif run.step is Step.REFUSED:
        state.waiting.reason, state.waiting.message = run.reason, run.message
    elif run.step is Step.BACKOFF and not worker.phase and worker.finished_s == 0 and run.ended is not None:
        state.waiting.reason = "CrashLoopBackOff"
        pause_s = max(0.0, run.due_s - run.ended.finished_s)
        where = f"{worker.pod.metadata.name}_{worker.pod.metadata.namespace}({worker.uid})"
        state.waiting.message = f"back-off {pause_s:.0f}s restarting failed container={run.name} pod={where}"
    elif run.step is Step.STARTING and run.last is not None:
        state.waiting.reason = "CrashLoopBackOff"
    elif run.ended is not None:
        _tell(state.terminated, run.ended, _id(worker, run, runtime, run.ended.restart))
    elif worker.initialized or run.init:
        state.waiting.reason = worker.reason or "ContainerCreating"
    else:
        state.waiting.reason = worker.reason or "PodInitializing"


def _tell(terminated: ContainerStateTerminated, ended: Ended, container_id: str) -> None:
    terminated.exit_code, terminated.signal = ended.exit_code, ended.signal
    terminated.reason, terminated.message = ended.reason, ended.message
    terminated.started_at.seconds = int(ended.started_s)
    terminated.finished_at.seconds = int(ended.finished_s)
    terminated.container_id = container_id


def _id(worker: ContainerPod, run: ContainerRun, runtime: str, restart: int) -> str:
    return f"{runtime}://{worker.uid}/{run.name}/{restart}"
