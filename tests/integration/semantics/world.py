"""A tenant and a resource partition for all tests of a mode, the kinds as subjects, and watches of both sorts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from services.api import kinds
from services.api.kinds import KINDS, Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import CreateWatch, WatchClientMessage, WatchServerMessage
from services.client.clientset import Listing, ResourceClient
from services.rpc import methods
from services.rpc.status import StatusError, from_rpc_error, from_status
from services.storage.watchcache import WindowBounds
from tests.integration.apiserver.world import (
    Partition,
    named,
    pod,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess, free_port
from tests.support.tenants import make_tenant

PORTS = range(18_700, 18_900)
AHEAD = 1_000_000
WINDOW = 16
"""Changes that the caches of these servers keep at most."""

NAMES = ("a0", "a1", "a2", "a3", "a4", "a5")

# Controllers that write into objects of the kinds that are tried here.
OWN_WRITERS = ("disruption",)


def port() -> int:
    return free_port(PORTS)


@dataclass
class Servers:
    """tp-1 and rp-1 of one mode, "cached" or "uncached"."""

    mode: str
    tp: Partition
    rp: Partition
    tenant_etcd: EtcdProcess
    resource_etcd: EtcdProcess
    histories: dict[str, History] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def home(self, kind: Kind) -> Partition:
        """The partition that ``kind`` is tried on."""
        return self.tp if kind.served_by("tenant") else self.rp

    def etcd(self, kind: Kind) -> EtcdProcess:
        return self.tenant_etcd if kind.served_by("tenant") else self.resource_etcd

    def cached(self, kind: Kind) -> bool:
        return self.mode == "cached" and kind.cached

    async def subject(self, kind: Kind) -> Subject:
        """``kind`` in a tenant and namespace of its own."""
        number = next(self._numbers)
        partition = self.home(kind)
        tenant = f"t{number}-{self.mode}" if kind.tenant_scoped else ""
        if tenant:
            await make_tenant(partition.clients, tenant)
        return Subject(self, kind, partition, tenant, "default" if kind.namespaced else "", f"x{number}{self.mode[0]}-")


@dataclass
class Subject:
    """One kind, a place for its objects, and a prefix that makes their names unique.

    Cluster-scoped kinds share their collection with whatever else is there; ``mine`` tells which objects count.
    """

    servers: Servers
    kind: Kind
    partition: Partition
    tenant: str
    namespace: str
    prefix: str

    @property
    def client(self) -> ResourceClient[Any]:
        return self.partition.clients.resource(self.kind)

    @property
    def place(self) -> dict[str, str]:
        return {"tenant": self.tenant, "namespace": self.namespace}

    def obj(self, name: str, **labels: str) -> Any:
        if self.kind is kinds.PODS:
            made = pod(self.tenant, self.prefix + name, namespace=self.namespace)
        else:
            made = named(self.kind, self.prefix + name, **self.place)
        if self.kind is kinds.TENANT_PLACEMENTS:
            made.spec.tenant_partition = "tp-9"
        elif self.kind in (kinds.TENANT_PARTITIONS, kinds.RESOURCE_PARTITIONS):
            made.spec.endpoints.append("127.0.0.1:1")
        elif self.kind is kinds.PRIORITY_CLASSES:
            made.value = 7
        elif self.kind is kinds.EVENTS:
            made.reason = "Tried"
        elif self.kind is kinds.SERVICES:
            made.spec.ports.add(port=80)
        elif self.kind is kinds.REPLICA_SETS:
            made.spec.replicas = 0
            made.spec.selector.match_labels["app"] = "web"
            made.spec.template.metadata.labels["app"] = "web"
            made.spec.template.spec.containers.add(name="main", image="busybox")
        elif self.kind is kinds.ENDPOINT_SLICES:
            made.address_type = "IPv4"
        made.metadata.labels.update({"set": self.prefix + "all", **labels})
        return made

    @property
    def selector(self) -> str:
        """Selects this subject's objects and nothing else."""
        return f"set={self.prefix}all"

    async def create(self, name: str, **labels: str) -> Any:
        return await self.client.create(self.obj(name, **labels))

    async def relabel(self, name: str, **labels: str) -> Any:
        current = await self.get(name)
        current.metadata.labels.update(labels)
        return await self.client.update(current)

    async def get(self, name: str, resource_version: int | None = None) -> Any:
        return await self.client.get(self.prefix + name, resource_version=resource_version, **self.place)

    @property
    def ends_at_once(self) -> bool:
        """A deleted object is gone at once; namespaces and tenants are emptied first, which takes seconds."""
        return self.kind not in (kinds.NAMESPACES, kinds.TENANTS)

    async def delete(self, name: str) -> None:
        await self.client.delete(self.prefix + name, grace_period_seconds=0, **self.place)

    async def list(self, **query: Any) -> Listing[Any]:
        return await self.client.list(**{**self.place, **query})

    def names(self, listing: Listing[Any]) -> list[str]:
        """Names of mine, without the prefix, in the order of the list."""
        return [
            item.metadata.name.removeprefix(self.prefix)
            for item in listing.items
            if item.metadata.name.startswith(self.prefix)
        ]

    async def roll_window(self) -> None:
        """Change one object so often that the cache's window holds nothing older."""
        for number in range(WINDOW + 2 if self.servers.cached(self.kind) else 1):
            await self.relabel("a0", roll=f"r{number}")

    @contextlib.asynccontextmanager
    async def watch(self, sort: str, **selection: Any) -> AsyncIterator[Watch]:
        """A watch of mine; ``sort`` is "typed" or "multiplexed"."""
        request = WatchRequest(**{**self.place, "label_selector": self.selector, **selection})
        watch = (Typed if sort == "typed" else Multiplexed)(self.partition.channel, self.kind, request, self.prefix)
        try:
            yield watch
        finally:
            watch.close()


@dataclass
class History:
    """Six objects (``before``, at RV ``created``), then a1 relabelled (``updated_at``), a2 deleted (where that is
    quick), and at ``latest`` b0 created (``now``)."""

    subject: Subject
    created: int
    latest: int
    before: list[str]
    now: list[str]
    updated_at: int

    @property
    def missing(self) -> str:
        """A name that holds nothing, deleted if it may be."""
        return "a2" if self.subject.ends_at_once else "c0"


async def history_of(servers: Servers, kind: Kind) -> History:
    """Made once per kind and mode."""
    known = servers.histories.get(kind.resource)
    if known is None:
        subject = await servers.subject(kind)
        last: Any = None
        for number, name in enumerate(NAMES):
            last = await subject.create(name, parity="even" if number % 2 == 0 else "odd")
        created = last.metadata.resource_version
        updated = await subject.relabel("a1", touched="yes")
        now = [*NAMES, "b0"]
        if subject.ends_at_once:
            await subject.delete("a2")
            now.remove("a2")
        newest = await subject.create("b0", parity="even")
        known = History(
            subject, created, newest.metadata.resource_version, list(NAMES), now, updated.metadata.resource_version
        )
        servers.histories[kind.resource] = known
    return known


@dataclass(frozen=True)
class Seen:
    """One event: its type's number, the name without prefix, and the object's RV."""

    type: int
    name: str
    revision: int


@dataclass
class Batch:
    revision: int
    events: list[Seen]
    bookmark: bool
    initial_events_end: bool


class Watch:
    """A watch, read batch by batch; its end raises ``StatusError`` (an error) or ``StopAsyncIteration``."""

    def __init__(self, kind: Kind, prefix: str) -> None:
        self.kind = kind
        self.prefix = prefix

    async def next(self, timeout_s: float = 10.0) -> Batch:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError

    async def events(self, count: int) -> list[tuple[int, str]]:
        """The next ``count`` events; bookmarks are passed over."""
        return [(event.type, event.name) for event in await self.seen(count)]

    async def seen(self, count: int) -> list[Seen]:
        found: list[Seen] = []
        while len(found) < count:
            found += (await self.next()).events
        assert len(found) == count, found
        return found

    async def opened(self) -> None:
        """Return when the server has accepted the watch, or raise why not."""
        raise AssertionError

    async def refused(self) -> StatusError:
        try:
            await self.opened()
            await self.next()
        except StatusError as error:
            return error
        raise AssertionError("the watch was accepted")

    def _seen(self, event_type: int, obj: Any) -> Seen:
        return Seen(event_type, obj.metadata.name.removeprefix(self.prefix), obj.metadata.resource_version)


class Typed(Watch):
    def __init__(self, channel: grpc.aio.Channel, kind: Kind, request: WatchRequest, prefix: str) -> None:
        super().__init__(kind, prefix)
        method: Any = channel.unary_stream(
            methods.path(kind, "Watch"),
            request_serializer=WatchRequest.SerializeToString,
            response_deserializer=kind.watch_batch_message.FromString,
        )
        self.call = method(request)

    async def opened(self) -> None:
        async with asyncio.timeout(10):
            await self.call.initial_metadata()
            if self.call.done() and await self.call.code() is not grpc.StatusCode.OK:
                await self.next()

    async def next(self, timeout_s: float = 10.0) -> Batch:
        async with asyncio.timeout(timeout_s):
            try:
                batch = await self.call.read()
            except grpc.aio.AioRpcError as failure:
                raise from_rpc_error(failure) from failure
        if batch is grpc.aio.EOF:
            raise StopAsyncIteration
        events = [self._seen(event.type, event.object) for event in batch.events]
        return Batch(batch.resource_version, events, batch.bookmark, batch.initial_events_end)

    def close(self) -> None:
        self.call.cancel()


class Multiplexed(Watch):
    def __init__(self, channel: grpc.aio.Channel, kind: Kind, request: WatchRequest, prefix: str) -> None:
        super().__init__(kind, prefix)
        method: Any = channel.stream_stream(
            methods.WATCH_METHOD,
            request_serializer=WatchClientMessage.SerializeToString,
            response_deserializer=WatchServerMessage.FromString,
        )
        self.call = method()
        self._request = request
        self.watch_id = 1
        self._created = False
        self._batches: list[Any] = []

    async def opened(self) -> None:
        if not self._created:
            self._created = True
            create = CreateWatch(watch_id=self.watch_id, resource=self.kind.resource, selection=self._request)
            await self.call.write(WatchClientMessage(create=create))
            batch = await self._read(10)
            assert batch.created

    async def next(self, timeout_s: float = 10.0) -> Batch:
        await self.opened()
        batch = await self._read(timeout_s)
        if batch.canceled:
            raise StopAsyncIteration
        objects: list[Any] = [self.kind.message.FromString(event.object) for event in batch.events]
        events = [self._seen(event.type, obj) for event, obj in zip(batch.events, objects, strict=True)]
        return Batch(batch.resource_version, events, batch.bookmark, batch.initial_events_end)

    async def _read(self, timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            while not self._batches:
                message = await self.call.read()
                if message is grpc.aio.EOF:
                    raise StopAsyncIteration
                self._batches += message.batches
        batch = self._batches.pop(0)
        assert batch.watch_id == self.watch_id, f"watch {batch.watch_id} has ended or never was"
        if batch.HasField("error"):
            raise from_status(batch.error)
        return batch

    def close(self) -> None:
        self.call.cancel()


# Those that a client can write; reads of the others are the same code, and their writes have tests of their own.
ALL_KINDS = tuple(kind for kind in KINDS.values() if not kind.read_only)
SORTS = ("typed", "multiplexed")


def by_name(kind: Kind) -> str:
    """For the ids of parametrised tests."""
    return kind.resource


@contextlib.asynccontextmanager
async def servers_of(
    mode: str, tenant_etcd: EtcdProcess, resource_etcd: EtcdProcess, **etcd: float
) -> AsyncIterator[Servers]:
    """tp-1 and rp-1 with small windows, or without caches. ``etcd``: timeouts other than the defaults."""
    windows = dict.fromkeys(KINDS, WindowBounds(low=WINDOW, high=WINDOW))
    off = tuple(KINDS) if mode == "uncached" else ()

    def small(config: Any) -> Any:
        watch_cache = dataclasses.replace(config.watch_cache, off=off, windows=windows, bookmark_period_s=2.0)
        return dataclasses.replace(config, etcd=dataclasses.replace(config.etcd, **etcd), watch_cache=watch_cache)

    resource = small(resource_partition_config(resource_etcd.endpoint, port()))
    tenant = small(tenant_partition_config(tenant_etcd.endpoint, port(), resource.listen))
    # The disruption controller writes into budgets by itself: what is asked here is what clients' writes do.
    async with running(resource) as rp, running(tenant, without=OWN_WRITERS) as tp:
        yield Servers(mode, tp, rp, tenant_etcd, resource_etcd)
