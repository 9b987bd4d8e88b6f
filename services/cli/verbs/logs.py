"""``ursa logs``: what the containers of a pod printed, asked of the kubelet that runs them.

The pod is found in its tenant partition, its node in the resource partition that the pod names, and the kubelet by what
the node's status tells: an address and the port of ``daemonEndpoints``. The words are kubectl's.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from services.api import kinds
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.kubelet.v1 import kubelet_pb2
from services.cli.cluster import Cluster, explain, is_unreachable, why
from services.cli.errors import OK, CliError, PartitionUnreachable, Refused, UsageError
from services.cli.selection import Wanted
from services.cli.streams import Streams
from services.cli.verbs import fetch
from services.cli.verbs.fetch import Query
from services.cli.verbs.scope import Where
from services.client import calls
from services.rpc.channel import make_channel
from services.rpc.status import StatusError

METHOD = "/ursa.kubelet.v1.Kubelet/ContainerLogs"
DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container"
# As kubectl: what a selector finds is many pods, of which the end of each is enough.
SELECTED_TAIL = 10
# Until the first part; a log that is followed may then be silent for as long as it likes.
ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


@dataclass(frozen=True)
class Request:
    """``pod`` or ``selector``. ``tail`` -1: all lines; ``since_ns``: nanoseconds since the Unix epoch."""

    where: Where
    pod: str = ""
    selector: str = ""
    container: str = ""
    all_containers: bool = False
    follow: bool = False
    previous: bool = False
    tail: int | None = None
    since_ns: int | None = None
    limit_bytes: int = 0
    timestamps: bool = False
    prefix: bool = False
    at_once_max: int = 5


@dataclass(frozen=True)
class Source:
    """A container's log, and the kubelet (host:port) that has it."""

    pod: Pod
    container: str
    kubelet: str = field(default="")

    @property
    def prefix(self) -> bytes:
        return f"[pod/{self.pod.metadata.name}/{self.container}] ".encode()


async def logs(cluster: Cluster, request: Request, streams: Streams, out: BinaryIO | None = None) -> int:
    """Print them; the exit code. Raises ``CliError`` for a pod that cannot be found or asked."""
    pods = await _pods(cluster, request)
    if not pods:
        streams.note(f"No resources found in {request.where.namespace or 'default'} namespace.")
        return OK
    chosen = [Source(pod, name) for pod in pods for name in _containers(pod, request, streams)]
    if request.follow and len(chosen) > request.at_once_max:
        raise UsageError(
            f"you are attempting to follow {len(chosen)} log streams, but maximum allowed concurrency is"
            f" {request.at_once_max}, use --max-log-requests to increase the limit"
        )
    homes = {pod.metadata.uid: await _kubelet(cluster, pod) for pod in pods}
    sources = [Source(one.pod, one.container, homes[one.pod.metadata.uid]) for one in chosen]
    printer = _Printer(out or sys.stdout.buffer)
    if request.follow and len(sources) > 1:
        outcomes = await asyncio.gather(*(_show(source, request, printer, many=True) for source in sources))
    else:
        outcomes = [await _show(source, request, printer, many=len(sources) > 1) for source in sources]
    return streams.fail([failure for failure in outcomes if failure is not None])


class _Printer:
    """Several logs on one output: whole lines only, as far as there are any."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()


async def _pods(cluster: Cluster, request: Request) -> list[Pod]:
    wanted = Wanted(kinds.PODS, (request.pod,) if request.pod else ())
    found = await fetch.find(cluster, wanted, request.where, Query(labels=request.selector))
    if found.failures:
        raise found.failures[0]
    return [item.object for item in found.items]


def _containers(pod: Pod, request: Request, streams: Streams) -> list[str]:
    """Raises ``Refused`` for a name that is not the pod's."""
    names = [spec.name for spec in pod.spec.containers]
    init = [spec.name for spec in pod.spec.init_containers]
    if request.all_containers:
        return [*init, *names]
    if request.container:
        if request.container not in (*names, *init):
            known = ", ".join((*names, *(f"{name} (init)" for name in init)))
            raise Refused(f"container {request.container} is not valid for pod {pod.metadata.name} out of: {known}")
        return [request.container]
    preferred = pod.metadata.annotations.get(DEFAULT_CONTAINER_ANNOTATION, "")
    chosen = preferred if preferred in names else names[0]
    if len(names) + len(init) > 1:
        known = ", ".join((*names, *(f"{name} (init)" for name in init)))
        streams.note(f'Defaulted container "{chosen}" out of: {known}')
    return [chosen]


async def _kubelet(cluster: Cluster, pod: Pod) -> str:
    """host:port of the kubelet that has the pod. Raises ``CliError`` saying what is missing."""
    name, spec = pod.metadata.name, pod.spec
    if not spec.node_name:
        raise Refused(f"from server (BadRequest): pod {name} does not have a host assigned")
    partition = cluster.context.partition(spec.resource_partition)
    try:
        node = await cluster.clients(partition).nodes.get(spec.node_name)
    except StatusError as failure:
        raise explain(failure, partition=partition) from failure
    return endpoint_of(node, pod)


def endpoint_of(node: Node, pod: Pod) -> str:
    """Where the node's kubelet is reached, as its status tells. Raises ``Refused``."""
    port = node.status.daemon_endpoints.kubelet_endpoint.port
    if not port:
        raise Refused(
            f"node {node.metadata.name} of pod {pod.metadata.name} does not tell where its kubelet is reached",
            hint="the kubelet serves logs when its configuration has `listen`",
        )
    by_type = {address.type: address.address for address in reversed(node.status.addresses)}
    host = next((by_type[kind] for kind in ADDRESS_TYPES if kind in by_type), "")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _show(source: Source, request: Request, printer: _Printer, *, many: bool) -> CliError | None:
    """Print one log; what went wrong."""
    line_begins = True
    prefix = source.prefix if request.prefix else b""
    rest = b""
    try:
        async with contextlib.aclosing(_parts(source, request)) as parts:
            async for data in parts:
                if many and request.follow:
                    # Lines of several logs must not run into one another.
                    *lines, rest = (rest + data).split(b"\n")
                    data = b"".join(line + b"\n" for line in lines)
                if data:
                    printer.write(_prefixed(data, prefix, line_begins) if prefix else data)
                    line_begins = data.endswith(b"\n")
        if rest:
            printer.write((prefix if line_begins else b"") + rest + b"\n")
    except StatusError as failure:
        if not is_unreachable(failure):
            return explain(failure)
        return PartitionUnreachable(
            f"the kubelet of node {source.pod.spec.node_name} ({source.kubelet}) cannot be reached: {why(failure)}"
        )
    return None


def _prefixed(data: bytes, prefix: bytes, line_begins: bool) -> bytes:
    body, end = (data[:-1], b"\n") if data.endswith(b"\n") else (data, b"")
    return (prefix if line_begins else b"") + body.replace(b"\n", b"\n" + prefix) + end


async def _parts(source: Source, request: Request) -> Any:
    channel = make_channel([source.kubelet])
    try:
        method = channel.unary_stream(
            METHOD,
            request_serializer=kubelet_pb2.ContainerLogsRequest.SerializeToString,
            response_deserializer=kubelet_pb2.ContainerLogsPart.FromString,
        )
        async with contextlib.aclosing(calls.parts(method, _message(source, request), None)) as parts:
            async for part in parts:
                yield part.data
    finally:
        await channel.close()


def _message(source: Source, request: Request) -> kubelet_pb2.ContainerLogsRequest:
    metadata = source.pod.metadata
    message = kubelet_pb2.ContainerLogsRequest(
        tenant=metadata.tenant,
        namespace=metadata.namespace,
        pod=metadata.name,
        uid=metadata.uid,
        container=source.container,
        follow=request.follow,
        previous=request.previous,
        timestamps=request.timestamps,
    )
    tail = request.tail if request.tail is not None else (SELECTED_TAIL if request.selector else -1)
    if tail >= 0:
        message.tail_lines = tail
    if request.limit_bytes:
        message.limit_bytes = request.limit_bytes
    if request.since_ns is not None:
        message.since_time.FromNanoseconds(request.since_ns)
    return message


def check(words: Sequence[str], selector: str, *, tail: int | None, limit_bytes: int, since: bool, both: bool) -> None:
    """Raises ``UsageError`` for options that cannot be, in kubectl's words."""
    if not words and not selector:
        raise UsageError(
            "expected 'logs [-f] [-p] (POD | component/NAME) [-c CONTAINER]'",
            hint="POD is a required argument for the logs command; or choose pods with -l",
        )
    if words and selector:
        raise UsageError("only a selector (-l) or a POD name is allowed")
    if len(words) > 1:
        raise UsageError(f"one POD is expected, not {len(words)}: {' '.join(words)}")
    if tail is not None and tail < -1:
        raise UsageError("--tail must be greater than or equal to -1")
    if limit_bytes < 0:
        raise UsageError("--limit-bytes must be greater than 0")
    if both:
        raise UsageError("only one of --since-time / --since may be used")
    if not since:
        raise UsageError("--since must be greater than 0")
