"""Lease renewals on a stream, over real etcds: stored bytes, refusals, limits, several servers, shutdown."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import grpc
import pytest

from services.api import keys, kinds, wire
from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_service_pb2 import (
    LeaseRenewal,
    RenewLeasesRequest,
    RenewLeasesResponse,
)
from services.apiserver import limits
from services.apiserver.overload import OverloadConfig
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.renewals import LeaseRenewals
from services.kubelet import nodelease
from services.rpc import methods
from services.rpc.channel import make_channel
from services.rpc.status import StatusError, from_rpc_error, from_status
from services.storage.stores import WatchCacheConfig
from tests.integration.apiserver.world import (
    Partition,
    World,
    eventually,
    named,
    port,
    refused,
    resource_partition_config,
    running,
)
from tests.support.etcd import EtcdProcess

pytestmark = pytest.mark.etcd

PLACE = {"tenant": "system", "namespace": "kube-node-lease"}
_numbers = itertools.count(1)


class Stream:
    """A renewal stream, message by message."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call: Any = channel.stream_stream(
            methods.path(LEASES, "Renew"),
            request_serializer=RenewLeasesRequest.SerializeToString,
            response_deserializer=RenewLeasesResponse.FromString,
        )()

    async def send(self, id: int, *renewals: LeaseRenewal, seconds: int = 1_800_000_000, **place: str) -> None:
        request = RenewLeasesRequest(id=id, renewals=renewals, **{**PLACE, **place})
        if seconds:
            request.renew_time.seconds = seconds
        await self.call.write(request)

    async def answer(self) -> Any:
        """The next answer, or the error that the stream ended with."""
        try:
            answer = await asyncio.wait_for(self.call.read(), 15)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure
        if answer is grpc.aio.EOF:
            raise StatusError(await self.call.code(), "EOF", "")
        return answer

    async def renew(self, id: int, *renewals: LeaseRenewal, **more: Any) -> Any:
        await self.send(id, *renewals, **more)
        return await self.answer()


def renewal(name: str, holder: str = "", uid: str = "") -> LeaseRenewal:
    return LeaseRenewal(name=name, holder_identity=holder or name, uid=uid)


def reasons(answer: Any) -> dict[int, str]:
    return {failure.index: from_status(failure.status).reason for failure in answer.failures}


async def make_leases(partition: Partition, count: int) -> list[str]:
    names = [f"renewed-{next(_numbers)}" for _ in range(count)]
    leases: list[Any] = [named(LEASES, name, **PLACE) for name in names]
    for lease in leases:
        lease.metadata.labels["app"] = "x"
        lease.spec.holder_identity = lease.metadata.name
        lease.spec.lease_duration_seconds = 40
        lease.spec.lease_transitions = 3
    outcomes = await partition.clients.leases.batch_create(leases)
    assert [outcome.status for outcome in outcomes] == [None] * count
    return names


async def lease_of(partition: Partition, name: str) -> Any:
    return await partition.clients.leases.get(name, **PLACE)


@contextlib.asynccontextmanager
async def renewing(channel: grpc.aio.Channel) -> AsyncIterator[LeaseRenewals]:
    renewals = LeaseRenewals(channel, SystemClock(), Rand(), partition="rp-1")
    task = asyncio.ensure_future(renewals.run())
    try:
        yield renewals
    finally:
        await stop_task(task)


def stored(etcd: EtcdProcess, name: str) -> bytes:
    """What etcd holds."""
    key = keys.key(LEASES, *PLACE.values(), name)
    body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
    url = f"http://{etcd.endpoint}/v3/kv/range"
    with urllib.request.urlopen(url, data=body, timeout=5) as answer:
        return base64.b64decode(json.load(answer)["kvs"][0]["value"])


async def test_a_renewal_moves_the_renew_time_and_nothing_else(world: World, resource_etcd: EtcdProcess) -> None:
    (name,) = await make_leases(world.rp, 1)
    before = await lease_of(world.rp, name)
    answer = await Stream(world.rp.channel).renew(7, renewal(name, uid=before.metadata.uid), seconds=1_812_345_678)
    assert (answer.id, reasons(answer), answer.HasField("status")) == (7, {}, False)
    after = await lease_of(world.rp, name)
    assert after.metadata.resource_version == answer.resource_version > before.metadata.resource_version
    assert after.spec.renew_time.seconds == 1_812_345_678
    bytes_in_etcd = await asyncio.to_thread(stored, resource_etcd, name)
    assert bytes_in_etcd == wire.canonical(after)
    after.spec.ClearField("renew_time")
    after.metadata.resource_version = before.metadata.resource_version
    assert after == before


async def test_without_a_time_it_is_the_servers(world: World) -> None:
    (name,) = await make_leases(world.rp, 1)
    before_s = int(SystemClock().time())
    answer = await Stream(world.rp.channel).renew(1, renewal(name), seconds=0)
    assert reasons(answer) == {}
    assert before_s <= (await lease_of(world.rp, name)).spec.renew_time.seconds <= SystemClock().time() + 1


async def test_each_renewal_has_its_own_outcome(world: World) -> None:
    mine, theirs, other = await make_leases(world.rp, 3)
    stream = Stream(world.rp.channel)
    answer = await stream.renew(
        1,
        renewal(mine),
        renewal("never-was"),
        renewal(theirs, "somebody"),
        renewal(other, uid="another-uid"),
        LeaseRenewal(name="x"),
        LeaseRenewal(holder_identity="x"),
        renewal("a/b"),
        renewal(mine),
    )
    assert reasons(answer) == {1: "NotFound", 2: "Conflict", 3: "Conflict", 4: "Invalid", 5: "Invalid", 6: "Invalid"}
    errors = {failure.index: from_status(failure.status) for failure in answer.failures}
    assert theirs in errors[2].message and "somebody" in errors[2].message
    fields = [violation.field for index in (4, 5, 6) for violation in errors[index].violations]
    assert fields == ["renewals[4].holder_identity", "renewals[5].name", "renewals[6].name"]
    assert (await lease_of(world.rp, mine)).spec.renew_time.seconds == 1_800_000_000
    for name in (theirs, other):
        assert not (await lease_of(world.rp, name)).spec.HasField("renew_time")


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ({"tenant": ""}, ["tenant"]),
        ({"namespace": ""}, ["namespace"]),
        ({"tenant": "*"}, ["tenant"]),
        ({"namespace": "a/b"}, ["namespace"]),
        ({"tenant": "acme"}, []),
    ],
)
async def test_a_bad_request_is_refused_as_a_whole_and_the_stream_goes_on(
    world: World, place: dict[str, str], fields: list[str]
) -> None:
    (name,) = await make_leases(world.rp, 1)
    stream = Stream(world.rp.channel)
    answer = await stream.renew(3, renewal(name), **place)
    error = from_status(answer.status)
    assert (answer.id, [violation.field for violation in error.violations]) == (3, fields)
    assert error.reason == ("Invalid" if fields else "NotFound")
    assert reasons(await stream.renew(4, renewal(name))) == {}


async def test_limits_are_told(world: World) -> None:
    stream = Stream(world.rp.channel)
    many = [LeaseRenewal(name="n", holder_identity="n")] * (limits.RENEWALS_PER_REQUEST_MAX + 1)
    error = from_status((await stream.renew(1, *many)).status)
    assert [violation.field for violation in error.violations] == ["renewals"]
    large = LeaseRenewal(name="n", holder_identity="n" * limits.RENEWAL_BYTES_MAX)
    assert from_status((await stream.renew(2, large)).status).reason == "RequestEntityTooLarge"
    request = RenewLeasesRequest(id=3, **PLACE)
    request.renew_time.nanos = -1
    await stream.call.write(request)
    error = from_status((await stream.answer()).status)
    assert [violation.field for violation in error.violations] == ["renew_time"]


async def test_what_is_no_request_ends_the_stream(world: World) -> None:
    call = world.rp.channel.stream_stream(methods.path(LEASES, "Renew"))()
    await call.write(b"\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_id_in_use_ends_the_stream(world: World) -> None:
    (name,) = await make_leases(world.rp, 1)
    stream = Stream(world.rp.channel)
    await stream.send(5, renewal(name))
    await stream.send(5, renewal(name))
    error = await refused(_all_answers(stream, 2))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT and [v.field for v in error.violations] == ["id"]


async def _all_answers(stream: Stream, count: int) -> list[Any]:
    return [await stream.answer() for _ in range(count)]


async def test_renewals_of_many_requests_share_few_transactions(world: World, resource_etcd: EtcdProcess) -> None:
    names = await make_leases(world.rp, 400)
    stream = Stream(world.rp.channel)
    first = (await lease_of(world.rp, names[-1])).metadata.resource_version
    for number in range(20):
        await stream.send(number, *map(renewal, names[20 * number : 20 * number + 20]))
    answers = await _all_answers(stream, 20)
    assert sorted(answer.id for answer in answers) == list(range(20))
    assert all(not answer.failures for answer in answers)
    versions = {item.metadata.resource_version for item in (await world.rp.clients.leases.list(**PLACE)).items}
    assert len({version for version in versions if version > first}) <= 5


async def test_two_servers_and_other_writers_do_not_disturb_one_another(resource_etcd: EtcdProcess) -> None:
    """Each renewal meets leases that somebody else has just written, and all are stored."""
    config = resource_partition_config(resource_etcd.endpoint, port())
    async with running(config) as one, running(replace(config, listen=f"127.0.0.1:{port()}")) as two:
        names = await make_leases(one, 50)
        streams = [Stream(one.channel), Stream(two.channel)]
        for turn in range(4):
            for number, stream in enumerate(streams):
                await stream.send(turn, *map(renewal, names), seconds=1_800_000_000 + 2 * turn + number)
            patch = f'{{"metadata": {{"labels": {{"turn": "{turn}"}}}}}}'
            await asyncio.gather(*(two.clients.leases.patch(name, patch, **PLACE) for name in names[:5]))
            for stream in streams:
                assert reasons(await stream.answer()) == {}
        for name in names[:5]:
            lease = await lease_of(one, name)
            assert (lease.metadata.labels["turn"], lease.metadata.labels["app"]) == ("3", "x")
            assert lease.spec.renew_time.seconds >= 1_800_000_006
            assert lease.spec.lease_transitions == 3


async def test_without_a_watch_cache_it_is_the_same(resource_etcd: EtcdProcess) -> None:
    uncached = WatchCacheConfig(off=tuple(kinds.KINDS))
    config = resource_partition_config(resource_etcd.endpoint, port(), watch_cache=uncached)
    async with running(config) as partition:
        names = await make_leases(partition, 30)
        stream = Stream(partition.channel)
        answer = await stream.renew(1, *map(renewal, names), renewal("never-was"), renewal(names[0], "somebody"))
        assert reasons(answer) == {30: "NotFound", 31: "Conflict"}
        for name in names:
            assert (await lease_of(partition, name)).spec.renew_time.seconds == 1_800_000_000


async def test_leases_of_a_tenant_partition_can_be_renewed_too(world: World) -> None:
    lease: Any = named(LEASES, f"leader-{next(_numbers)}", tenant="system", namespace="kube-system")
    lease.spec.holder_identity = "me"
    made = await world.tp.clients.leases.create(lease)
    answer = await Stream(world.tp.channel).renew(1, renewal(made.metadata.name, "me"), namespace="kube-system")
    assert reasons(answer) == {}
    found = await world.tp.clients.leases.get(made.metadata.name, tenant="system", namespace="kube-system")
    assert found.spec.renew_time.seconds == 1_800_000_000


async def test_a_server_that_stops_answers_what_it_has_taken(resource_etcd: EtcdProcess) -> None:
    async with contextlib.AsyncExitStack() as stack:
        partition = await stack.enter_async_context(running(resource_partition_config(resource_etcd.endpoint, port())))
        (name,) = await make_leases(partition, 1)
        stream = Stream(partition.channel)
        await stream.renew(1, renewal(name))
        await stream.send(2, renewal(name), seconds=1_800_000_010)
        await eventually(_under_way(partition))
        partition.host.api.drain()
        answer = await stream.answer()
        assert (answer.id, reasons(answer)) == (2, {})
        error = await refused(stream.answer())
        assert (error.code, error.message) == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        assert (await lease_of(partition, name)).spec.renew_time.seconds == 1_800_000_010


def _under_way(partition: Partition) -> Any:
    async def check() -> bool:
        return partition.host.api.overload.system.budget.used > 0

    return check


async def test_a_client_goes_on_with_the_server_that_comes_back(resource_etcd: EtcdProcess) -> None:
    config = resource_partition_config(resource_etcd.endpoint, port())
    async with running(config) as partition:
        names = await make_leases(partition, 10)
    channel = make_channel([config.listen])
    async with renewing(channel) as renewals:
        wanted = list(map(renewal, names))
        waiting = asyncio.ensure_future(renewals.renew(wanted, **PLACE, now_s=1_800_000_020.5, timeout_s=30))
        async with running(config) as partition:
            assert await waiting == {}
            time = (await lease_of(partition, names[0])).spec.renew_time
            assert (time.seconds, time.nanos) == (1_800_000_020, 500_000_000)
    await channel.close()


async def test_a_client_that_reads_no_answers_is_not_read_from(resource_etcd: EtcdProcess) -> None:
    """It is stopped by its own unanswered requests, and others are served as ever."""
    config = resource_partition_config(resource_etcd.endpoint, port())
    async with running(config) as partition:
        (name,) = await make_leases(partition, 1)
        # Answers of about 300 kB each: more than the transport takes off the server's hands.
        refused_ones = [renewal(f"never-was-{number}", "somebody-with-a-name") for number in range(1_500)]
        stream = Stream(partition.channel)
        sent = 0

        async def sending() -> None:
            nonlocal sent
            while True:
                await stream.send(sent, *refused_ones)
                sent += 1

        async def nothing_under_way() -> bool:
            return partition.host.api.overload.system.budget.used == 0

        writer = asyncio.ensure_future(sending())
        try:
            quiet = 0
            last = -1
            for _ in range(600):
                await asyncio.sleep(0.1)
                quiet = quiet + 1 if sent == last else 0
                last = sent
                if quiet >= 30:
                    break
            assert quiet >= 30, f"still read from after {sent} requests"
            # What was read before is computed still, on a machine that is slow; what waits to be read holds up nobody.
            await eventually(nothing_under_way, within_s=30)
            other = Stream(partition.channel)
            assert reasons(await other.renew(1, renewal(name))) == {}
        finally:
            await stop_task(writer)
            stream.call.cancel()


async def test_a_full_budget_is_told_and_passes(resource_etcd: EtcdProcess) -> None:
    small = OverloadConfig(system_bytes_max=1_000)
    config = resource_partition_config(resource_etcd.endpoint, port(), overload=small)
    async with running(config) as partition:
        names = await make_leases(partition, 40)
        stream = Stream(partition.channel)
        answers = await _pipelined(stream, names)
        told = [from_status(answer.status) for answer in answers if answer.HasField("status")]
        assert 0 < len(told) < 10
        assert all(error.reason == "TooManyRequests" and error.retry_after_s for error in told)
        assert reasons(await stream.renew(99, *map(renewal, names))) == {}


async def _pipelined(stream: Stream, names: Sequence[str]) -> list[Any]:
    for number in range(10):
        await stream.send(number, *map(renewal, names[:20]), seconds=1_800_000_000 + number)
    return await _all_answers(stream, 10)


async def test_a_lease_that_is_renewed_is_collected_with_its_owner_all_the_same(world: World) -> None:
    node = await world.rp.clients.nodes.create(named(kinds.NODES, f"owner-{next(_numbers)}"))
    lease: Any = named(LEASES, f"owned-{next(_numbers)}", **PLACE)
    name = lease.metadata.name
    lease.metadata.owner_references.add(api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid)
    lease.spec.holder_identity = name
    await world.rp.clients.leases.create(lease)
    stream = Stream(world.rp.channel)
    for number in range(3):
        assert reasons(await stream.renew(number, renewal(name), seconds=1_800_000_000 + number)) == {}
    await world.rp.clients.nodes.delete(node.metadata.name)
    ids = itertools.count(10)

    async def gone() -> bool:
        return reasons(await stream.renew(next(ids), renewal(name))) == {0: "NotFound"}

    await eventually(gone, within_s=20)
    assert (await refused(lease_of(world.rp, name))).reason == "NotFound"


async def test_a_heartbeat_takes_less_than_400_bytes_of_etcds_log() -> None:
    etcd = EtcdProcess(port(), port())
    try:
        config = resource_partition_config(etcd.start().endpoint, port())
        async with running(config) as partition:
            names = [f"hollow-rp-1-{number:05d}" for number in range(500)]
            leases = [nodelease.lease(name, UID, now_s=1_800_000_000.123456, duration_s=40) for name in names]
            for lease in leases:
                lease.metadata.owner_references[0].kind = "None"  # As long; nodes that are not there are looked for.
            await partition.clients.leases.batch_create(leases)
            stream = Stream(partition.channel)
            before = log_bytes(etcd)
            for turn in range(4):
                assert reasons(await stream.renew(turn, *map(renewal, names), seconds=1_800_000_010 + turn)) == {}
            assert 250 < (log_bytes(etcd) - before) / (4 * len(names)) < 400
    finally:
        etcd.remove()


UID = "00000000-0000-4000-8000-000000000000"


def log_bytes(etcd: EtcdProcess) -> int:
    """Of the write-ahead log, without the zeros that its files are made with."""
    return sum(len(file.read_bytes().rstrip(b"\0")) for file in etcd.directory.glob("data/member/wal/*.wal"))


async def test_renewals_are_stored_after_etcd_was_away() -> None:
    etcd = EtcdProcess(port(), port())
    try:
        config = resource_partition_config(etcd.start().endpoint, port())
        async with running(config) as partition, renewing(partition.channel) as renewals:
            names = await make_leases(partition, 20)
            wanted = list(map(renewal, names))
            etcd.kill()
            answers = asyncio.ensure_future(_until_stored(renewals, wanted))
            assert await _refused(renewals, wanted) == set(range(20))
            etcd.start()
            assert await asyncio.wait_for(answers, 30) == {}
            for name in names:
                assert (await lease_of(partition, name)).spec.renew_time.seconds == 1_800_000_002
    finally:
        etcd.remove()


async def _refused(renewals: LeaseRenewals, wanted: list[LeaseRenewal]) -> set[int]:
    """Those that are not acknowledged: none was answered, or the server says of each that it is not stored."""
    try:
        return set(await renewals.renew(wanted, **PLACE, now_s=1_800_000_001, timeout_s=1.0))
    except StatusError:
        return set(range(len(wanted)))


async def _until_stored(renewals: LeaseRenewals, wanted: list[LeaseRenewal]) -> dict[int, StatusError]:
    while True:
        with contextlib.suppress(StatusError):
            refusals = await renewals.renew(wanted, **PLACE, now_s=1_800_000_002, timeout_s=7)
            if not refusals:
                return refusals
