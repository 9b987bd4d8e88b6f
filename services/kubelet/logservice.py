"""``ursa.kubelet.v1.Kubelet``: what a kubelet tells of its pods beside their status. The words are kubectl's."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import ContainerStatus, Pod, PodStatus
from services.api.pb.ursa.kubelet.v1 import kubelet_pb2
from services.base.clock import Clock
from services.kubelet.containerlogs import LogOptions, read
from services.kubelet.process.shim import timestamp
from services.kubelet.runtime import ContainerRuntime
from services.kubelet.serving import Calls, Handlers
from services.rpc.handlers import Context
from services.rpc.status import StatusError, bad_field, not_found

SERVICE = "ursa.kubelet.v1.Kubelet"
# The end of the year 9999 (google.protobuf.Timestamp).
TIME_S_MAX = 253_402_300_799


class Placed(NamedTuple):
    """A pod of this process: its object as last seen, its status as it is now, the node, and the runtime of its
    containers (None: it keeps nothing of them)."""

    pod: Pod
    status: PodStatus
    node: str
    containers: ContainerRuntime | None


class Pods(Protocol):
    """Where pods are found."""

    def placed(self, tenant: str, namespace: str, name: str, uid: str = "") -> Placed | None:
        """With a UID that very one: each partition has a tenant ``system`` of its own, whose pods share their names."""
        ...


def handlers(pods: Pods, calls: Calls, clock: Clock) -> Handlers:
    """By method name."""

    async def container_logs(data: bytes, context: Context) -> None:
        request = kubelet_pb2.ContainerLogsRequest.FromString(data)
        options = _options(request)
        placed = _placed(pods, request)
        name = _container(placed.pod, request.container)
        if placed.containers is None:
            message = f'pod "{request.pod}" is on hollow node {placed.node}: hollow containers have no logs'
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, "FailedPrecondition", message)
        runtime, uid = placed.containers, placed.pod.metadata.uid
        path = runtime.log_file(uid, name, previous=request.previous)
        if path is None:
            raise _no_log(placed, name, request.previous)

        def running() -> bool:
            return (
                not request.previous
                and runtime.log_file(uid, name, previous=False) == path
                and runtime.is_running(uid, name)
            )

        async for part in read(path, options, running=running, clock=clock):
            await context.write(kubelet_pb2.ContainerLogsPart(data=part).SerializeToString())

    return {"ContainerLogs": calls.stream(container_logs)}


def _options(request: kubelet_pb2.ContainerLogsRequest) -> LogOptions:
    """Raises ``StatusError`` naming the field."""
    for name in ("tenant", "namespace", "pod"):
        if not getattr(request, name):
            raise bad_field(name, "is required")
        if "/" in getattr(request, name):
            raise bad_field(name, "may not contain '/'")
    tail = request.tail_lines if request.HasField("tail_lines") else None
    limit = request.limit_bytes if request.HasField("limit_bytes") else None
    if tail is not None and tail < 0:
        raise bad_field("tail_lines", f"must be greater than or equal to 0, is {tail}")
    if limit is not None and limit < 1:
        raise bad_field("limit_bytes", f"must be greater than 0, is {limit}")
    time = request.since_time
    if time.seconds > TIME_S_MAX or not 0 <= time.nanos < 1_000_000_000:
        raise bad_field("since_time", "is no time before the year 10000")
    since = timestamp(max(0, time.ToNanoseconds())) if request.HasField("since_time") else None
    return LogOptions(request.follow, tail, limit, since, request.timestamps)


def _placed(pods: Pods, request: kubelet_pb2.ContainerLogsRequest) -> Placed:
    """Raises NotFound, also for a pod of another tenant: what is not the asker's does not exist for them."""
    found = pods.placed(request.tenant, request.namespace, request.pod, request.uid)
    if found is None or (request.uid and request.uid != found.pod.metadata.uid):
        raise not_found("pods", request.pod)
    return found


def _container(pod: Pod, asked: str) -> str:
    """Raises BadRequest for a name that is missing or wrong."""
    names = [spec.name for spec in pod.spec.containers]
    init = [spec.name for spec in pod.spec.init_containers]
    if asked:
        if asked not in (*names, *init):
            raise _bad_request(f"container {asked} is not valid for pod {pod.metadata.name}")
        return asked
    if len(names) > 1:
        choice = f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{' '.join(names)}]"
        raise _bad_request(choice + (f" or one of the init containers: [{' '.join(init)}]" if init else ""))
    return names[0]


def _no_log(placed: Placed, name: str, previous: bool) -> StatusError:
    pod = placed.pod.metadata.name
    if previous:
        return _bad_request(f'previous terminated container "{name}" in pod "{pod}" not found')
    statuses = [*placed.status.init_container_statuses, *placed.status.container_statuses]
    status = next((one for one in statuses if one.name == name), ContainerStatus())
    if status.state.HasField("waiting"):
        return _bad_request(f'container "{name}" in pod "{pod}" is waiting to start: {status.state.waiting.reason}')
    if status.state.HasField("terminated"):
        return _bad_request(f'container "{name}" in pod "{pod}" is terminated, and its log is not kept any more')
    return _bad_request(f'container "{name}" in pod "{pod}" is not available')


def _bad_request(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, "BadRequest", message)
