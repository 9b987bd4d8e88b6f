"""Pods as real processes: a real kubelet process between real partition servers, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import AsyncIterator

import grpc
import pytest

from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.pb.ursa.kubelet.v1 import kubelet_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.base.clock import SystemClock
from services.client import calls
from services.client.partitions import Connection
from services.kubelet.process.ending import end_all
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.support.client_world import pod as make_pod
from tests.support.etcd import find_binary
from tests.support.kubelet_processes import HOST, Cluster, cluster, connection, eventually
from tests.support.tenants import make_tenant

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(find_binary() is None, reason="no etcd on PATH"),
]

BASE_PORT = 24950
LOGS_PORT = BASE_PORT + 30


@contextlib.asynccontextmanager
async def running(directory: pathlib.Path) -> AsyncIterator[tuple[Cluster, Connection, Connection]]:
    """tp-1, rp-1, and a kubelet with two nodes; whatever ran below ``directory`` has ended afterwards."""
    root = directory / "processes"
    try:
        async with (
            cluster(
                directory,
                BASE_PORT,
                nodes=2,
                more=f'listen = "{HOST}:{LOGS_PORT}"',
                more_of_pool=f'runtime = "process"\nroot = "{root}"',
            ) as made,
            connection("tp-1", made.endpoint("tp-1")) as tp,
            connection("rp-1", made.endpoint("rp-1")) as rp,
        ):
            for tenant in ("acme", "beta"):
                await make_tenant(tp.clientset, tenant)

            async def registered() -> bool:
                return len((await rp.clientset.nodes.list()).items) == 2

            await eventually(registered)
            yield made, tp, rp
    finally:
        await asyncio.to_thread(end_all, root, 0.0, SystemClock())


async def run(tp: Connection, name: str, *scripts: str, tenant: str = "acme", policy: str = "Always") -> str:
    """Create a pod of shell scripts and bind it; its UID."""
    pod = make_pod(name, tenant=tenant, restart_policy=policy)
    pod.spec.termination_grace_period_seconds = 5
    del pod.spec.containers[:]
    for number, script in enumerate(scripts):
        pod.spec.containers.add(name=f"c{number}", image="none", command=["/bin/sh", "-c", script])
    created = await tp.clientset.pods.create(pod)
    await tp.clientset.pods.bind(
        pod_pb2.Binding(
            metadata=meta_pb2.ObjectMeta(name=name, tenant=tenant, namespace="default", uid=created.metadata.uid),
            target=pod_pb2.ObjectReference(kind="Node", name="hollow-rp-1-0000"),
            resource_partition="rp-1",
        )
    )
    return created.metadata.uid


async def status(tp: Connection, name: str, tenant: str = "acme") -> pod_pb2.PodStatus:
    return (await tp.clientset.pods.get(name, tenant=tenant, namespace="default")).status


async def phase(tp: Connection, name: str, wanted: str, tenant: str = "acme") -> None:
    async def reached() -> bool:
        return (await status(tp, name, tenant)).phase == wanted

    await eventually(reached, what=f"{name} {wanted}")


async def logs(pod: str, *, begun: asyncio.Event | None = None, **fields: object) -> str:
    """What the kubelet says, asked at the address of its node's status. ``begun``: set with its first part."""
    request = kubelet_pb2.ContainerLogsRequest(**{"tenant": "acme", "namespace": "default", "pod": pod, **fields})
    channel = make_channel([f"{HOST}:{LOGS_PORT}"])
    try:
        method = channel.unary_stream(
            "/ursa.kubelet.v1.Kubelet/ContainerLogs",
            request_serializer=kubelet_pb2.ContainerLogsRequest.SerializeToString,
            response_deserializer=kubelet_pb2.ContainerLogsPart.FromString,
        )
        data = b""
        async for part in calls.parts(method, request, 20.0):
            data += part.data
            if begun is not None:
                begun.set()
        return data.decode()
    finally:
        await channel.close()


async def logged(wanted: str, pod: str, **fields: object) -> None:
    """A container runs before the first line that it writes is in its log."""
    found = ""

    async def there() -> bool:
        nonlocal found
        found = await logs(pod, **fields)
        return found.startswith(wanted) and found.endswith("\n")

    await eventually(there, what=f"{wanted!r} in the log of {pod}")
    assert found == wanted or not wanted.endswith("\n"), found


async def test_a_kubelet_that_is_killed_loses_nothing_of_its_pods(tmp_path: pathlib.Path) -> None:
    async with running(tmp_path) as (made, tp, rp):
        node = await rp.clientset.nodes.get("hollow-rp-1-0000")
        assert node.status.daemon_endpoints.kubelet_endpoint.port == LOGS_PORT
        assert {a.type: a.address for a in node.status.addresses}["InternalIP"] == HOST

        go = tmp_path / "go"
        os.mkfifo(go)
        uid = await run(tp, "long", "echo pid $$$$; while :; do sleep 60 & wait; done", "echo second; exec sleep 600")
        await run(tp, "job", f"read line <{go}; echo $line; exit 3", policy="Never")
        doomed = await run(tp, "doomed", "exec sleep 600")
        for name in ("long", "job", "doomed"):
            await phase(tp, name, "Running")
        before = await status(tp, "long")
        await logged("pid ", "long", container="c0")
        first = await logs("long", container="c0")

        # Without a kubelet: a job ends, a pod is deleted by force.
        kubelet = made.processes["hollow"]
        await kubelet.kill()
        await asyncio.to_thread(go.write_text, "while you were away\n")
        await tp.clientset.pods.delete("doomed", tenant="acme", namespace="default", grace_period_seconds=0)
        await kubelet.start()

        await phase(tp, "job", "Failed")
        terminated = (await status(tp, "job")).container_statuses[0].state.terminated
        assert terminated.exit_code == 3
        assert await logs("job") == "while you were away\n"

        async def ended() -> bool:
            return not list((tmp_path / "processes" / "pods").glob(f"*{doomed}"))

        await eventually(ended, what="the containers and files of a pod that is gone")
        assert await logs("long", container="c0") == first, "it was not started again"
        after = await status(tp, "long")
        assert [c.restart_count for c in after.container_statuses] == [0, 0]
        assert after.container_statuses[0].state == before.container_statuses[0].state
        assert [line["uid"] for line in kubelet.lines("pod started")].count(uid) == 1

        await tp.clientset.pods.delete("long", tenant="acme", namespace="default")

        async def gone() -> bool:
            with contextlib.suppress(StatusError):
                await tp.clientset.pods.get("long", tenant="acme", namespace="default")
                return False
            return True

        await eventually(gone)
        assert not alive(int(first.split()[1]))


async def test_containers_restart_each_by_itself(tmp_path: pathlib.Path) -> None:
    async with running(tmp_path) as (_, tp, _):
        counter = tmp_path / "count"
        await run(
            tp,
            "two",
            f"echo x >>{counter}; echo run $(wc -l <{counter}); [ -e {tmp_path}/stay ] && exec sleep 600; exit 7",
            "exec sleep 600",
        )

        async def restarted() -> bool:
            found = (await status(tp, "two")).container_statuses
            return bool(found) and found[0].last_state.terminated.container_id.endswith("/c0/1")

        await eventually(restarted)
        one, other = (await status(tp, "two")).container_statuses
        assert one.last_state.terminated.exit_code == 7
        assert one.state.waiting.reason == "CrashLoopBackOff"
        assert (other.restart_count, other.ready) == (0, True)
        assert await logs("two", container="c0") == "run 2\n"
        assert await logs("two", container="c0", previous=True) == "run 1\n"


async def test_logs_are_the_tenants_own_and_refusals_are_precise(tmp_path: pathlib.Path) -> None:
    async with running(tmp_path) as (_, tp, _):
        await run(tp, "same", "echo of acme; exec sleep 600")
        uid = await run(tp, "same", "echo of beta; exec sleep 600", tenant="beta")
        await run(tp, "mine", "echo 1; echo 2; echo 3; exec sleep 600", "exec sleep 600")
        await phase(tp, "same", "Running")
        await phase(tp, "same", "Running", "beta")
        await phase(tp, "mine", "Running")
        await logged("of acme\n", "same")
        await logged("of beta\n", "same", tenant="beta")
        await logged("1\n2\n3\n", "mine", container="c0")
        assert await logs("mine", container="c0", tail_lines=2) == "2\n3\n"
        for fields, code, words in (
            ({"pod": "mine", "tenant": "beta"}, grpc.StatusCode.NOT_FOUND, 'pods "mine" not found'),
            ({"pod": "same", "uid": uid}, grpc.StatusCode.NOT_FOUND, 'pods "same" not found'),
            ({"pod": "mine"}, grpc.StatusCode.INVALID_ARGUMENT, "choose one of: [c0 c1]"),
            ({"pod": "mine", "container": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "x is not valid for pod mine"),
            ({"pod": "same", "previous": True}, grpc.StatusCode.INVALID_ARGUMENT, "previous terminated container"),
            ({"pod": "same", "tail_lines": -1}, grpc.StatusCode.INVALID_ARGUMENT, "tail_lines"),
            ({"pod": "same", "limit_bytes": 0}, grpc.StatusCode.INVALID_ARGUMENT, "limit_bytes"),
            ({"pod": "same", "tenant": ""}, grpc.StatusCode.INVALID_ARGUMENT, "tenant: is required"),
        ):
            with pytest.raises(StatusError) as refused:
                await logs(**fields)  # type: ignore[arg-type]
            assert refused.value.code is code, fields
            assert words in refused.value.message

        # A log that is followed ends with its container, and all of it is told.
        begun = asyncio.Event()
        following = asyncio.get_running_loop().create_task(logs("mine", container="c0", follow=True, begun=begun))
        async with asyncio.timeout(20):
            await begun.wait()
        await tp.clientset.pods.delete("mine", tenant="acme", namespace="default")
        assert await following == "1\n2\n3\n"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
