"""A partition in memory: the API's wire methods over dictionaries, for tests of clients.

``FakePartition.call`` and ``FakePartition.watch_stream`` speak bytes. ``FakeChannel`` gives them to the real clientset
and the real mux without a socket (so that a simulation runs on a fake clock); ``serve`` gives them to a real gRPC port.
It keeps the rules that clients lean on (preconditions, graceful deletion, resume, Expired), not all of the API's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.api import keys
from services.api.kinds import CAPACITY_CLAIMS, KINDS, NODES, PODS, Kind
from services.api.pb.ursa.core.v1 import pod_service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.api.pb.ursa.watch.v1 import watch_pb2
from services.api.selectors import Selection
from services.apiserver.objects import merge_conditions
from services.base.clock import Clock, SystemClock
from services.base.ids import IdMaker, sequential_uids
from services.rpc import methods, status
from services.rpc.channel import make_channel
from services.rpc.status import StatusError
from tests.support.fake_renewals import FakeRenewals

_BY_SERVICE = {kind.service: kind for kind in KINDS.values()}
_TERMINAL = ("Succeeded", "Failed")


class _Watch:
    def __init__(self, watch_id: int, kind: Kind, request: meta_pb2.WatchRequest, emit: Callable[[Any], None]) -> None:
        self.watch_id = watch_id
        self.kind = kind
        self.prefix = keys.prefix(kind, request.tenant, request.namespace)
        self.selection = Selection.parse(request.label_selector, request.field_selector, kind.fields)
        self.emit = emit

    def wants(self, key: str, message: Any) -> bool:
        return key.startswith(self.prefix) and self.selection.matches(self.kind.attributes_of(message))

    def event(self, key: str, old: Any, new: Any) -> watch_pb2.WatchEvent | None:
        was, now = old is not None and self.wants(key, old), new is not None and self.wants(key, new)
        if now:
            kind = watch_pb2.MODIFIED if was else watch_pb2.ADDED
            return watch_pb2.WatchEvent(type=kind, object=new.SerializeToString())
        if was:
            return watch_pb2.WatchEvent(type=watch_pb2.DELETED, object=old.SerializeToString())
        return None


class FakePartition:
    """``objects[resource][key]`` is a message. ``down``: every call is UNAVAILABLE (see ``go_down``)."""

    def __init__(self, name: str, *, clock: Clock | None = None, new_uid: IdMaker | None = None) -> None:
        self.name = name
        self.objects: dict[str, dict[str, Any]] = {resource: {} for resource in KINDS}
        self.resource_version = 1
        self.calls: list[tuple[str, Any]] = []
        self.down = False
        self.floor = 0
        self._clock = clock or SystemClock()
        self._new_uid = new_uid or sequential_uids(f"{name}-")
        self._history: list[tuple[int, str, str, Any, Any]] = []
        self._streams: dict[_Stream | FakeRenewals, None] = {}
        self._refusals: list[tuple[str, StatusError]] = []
        self._poison: dict[str, StatusError] = {}
        self._refused_claims: dict[str, StatusError] = {}
        self._mute: dict[str, str] = {}
        # Method and request of each call that was left without an answer.
        self.unanswered: list[tuple[str, bytes]] = []

    # What a test does to it.

    def put(self, kind: Kind, message: Any) -> Any:
        """Create or replace an object as somebody else would; returns a copy of what is stored."""
        key = keys.key_of(kind, message)
        old = self.objects[kind.resource].get(key)
        stored = kind.message()
        stored.CopyFrom(message)
        stored.metadata.uid = stored.metadata.uid or (old.metadata.uid if old is not None else self._new_uid())
        return _copy(self._commit(kind, key, old, stored))

    def get(self, kind: Kind, name: str, tenant: str = "", namespace: str = "") -> Any:
        """A copy of the object, or None."""
        found = self.objects[kind.resource].get(keys.key(kind, tenant, namespace, name))
        return None if found is None else _copy(found)

    def remove(self, kind: Kind, name: str, tenant: str = "", namespace: str = "") -> None:
        """Delete an object at once."""
        key = keys.key(kind, tenant, namespace, name)
        self._commit(kind, key, self.objects[kind.resource][key], None)

    def refuse_next(self, method: str, error: StatusError) -> None:
        """The next call of ``method`` ("BatchUpdateStatus") fails with ``error`` as a whole."""
        self._refusals.append((method, error))

    def refuse_claim(self, uid: str, error: StatusError | None) -> None:
        """Claims for this pod are refused, until ``error`` is None or a claim of the pod is released."""
        self._refused_claims.pop(uid, None)
        if error is not None:
            self._refused_claims[uid] = error

    def poison(self, name: str, error: StatusError | None) -> None:
        """Every status write of objects of this name fails, until ``error`` is None."""
        self._poison.pop(name, None)
        if error is not None:
            self._poison[name] = error

    def fall_silent(self, *methods: str, how: str = "hang") -> None:
        """Watches stay alive, but calls of these methods "hang" until their deadline, or are "unavailable"."""
        self._mute.update(dict.fromkeys(methods, how))

    def muted(self, method: str) -> str | None:
        """How ``method`` fails now ("hang", "unavailable"); None: it does not."""
        return self._mute.get(method)

    def take_refusal(self, method: str) -> StatusError | None:
        """What ``refuse_next`` left for this call of ``method``."""
        for refusal in self._refusals:
            if refusal[0] == method:
                self._refusals.remove(refusal)
                return refusal[1]
        return None

    def speak(self) -> None:
        """Answer again; calls that hang are not saved."""
        self._mute.clear()

    async def answer(self, path: str, data: bytes, timeout_s: float) -> bytes:
        """``call`` as far as it is answered at all: what channels without a socket use."""
        method = path.rsplit("/", 1)[1]
        how = self._mute.get(method)
        if how is not None:
            self.unanswered.append((method, data))
        if how == "hang":
            await self._clock.sleep(timeout_s)
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded", "no answer in time")
        if how == "unavailable":
            raise status.unavailable("no quorum")
        return await self.call(path, data)

    def go_down(self) -> None:
        """Lose all streams and refuse all calls until ``come_back``."""
        self.down = True
        self.drop_streams()

    def come_back(self) -> None:
        self.down = False

    def drop_streams(self) -> None:
        for stream in list(self._streams):
            stream.lose()

    def compact(self) -> None:
        """Forget the history: watches from before now are Expired."""
        self.floor = self.resource_version
        self._history.clear()

    @property
    def watches(self) -> int:
        return sum(len(stream.watches) for stream in self._streams)

    def called(self, method: str) -> list[Any]:
        """The requests of ``method`` so far."""
        return [request for name, request in self.calls if name == method]

    # What a client does to it.

    async def call(self, path: str, data: bytes) -> bytes:
        """One unary call (a List gives all of its parts as one). Raises ``StatusError``."""
        if self.down:
            raise status.unavailable("partition is down")
        _, service, method = path.split("/")
        kind = _BY_SERVICE[service]
        request = self._request_type(kind, method).FromString(data)
        self.calls.append((method, request))
        refusal = self.take_refusal(method)
        if refusal is not None:
            raise refusal
        if method == "BatchDelete":
            return self._batch_delete(kind, request).SerializeToString()
        if method == "BatchClaim":
            return self._batch_claim(request).SerializeToString()
        if method == "BatchRelease":
            return self._batch_release(request).SerializeToString()
        if method.startswith("Batch"):
            return self._batch(kind, method.removeprefix("Batch"), request.objects).SerializeToString()
        if method == "Get":
            return self._existing(kind, request).SerializeToString()  # type: ignore[no-any-return]
        if method == "List":
            return self._list(kind, request)
        if method == "Delete":
            return self._delete(kind, request).SerializeToString()  # type: ignore[no-any-return]
        return self._one(kind, method, request.object).SerializeToString()  # type: ignore[no-any-return]

    @staticmethod
    def _request_type(kind: Kind, method: str) -> Any:
        special = {"Get": meta_pb2.GetRequest, "List": meta_pb2.ListRequest, "Delete": meta_pb2.DeleteRequest}
        special |= {"Bind": pod_service_pb2.BindPodRequest, "BatchBind": pod_service_pb2.BatchBindRequest}
        special |= {"Create": kind.create_request, "Update": kind.update_request, "UpdateStatus": kind.update_request}
        special |= {"BatchDelete": pod_service_pb2.BatchDeletePodsRequest}
        special |= {"BatchClaim": capacity_pb2.BatchClaimRequest, "BatchRelease": capacity_pb2.BatchReleaseRequest}
        return special.get(method, kind.batch_request)

    def _batch_delete(self, kind: Kind, request: Any) -> meta_pb2.BatchResponse:
        response = meta_pb2.BatchResponse()
        for item in request.items:
            outcome = response.outcomes.add(name=item.name)
            try:
                old = self._delete(kind, item)
            except StatusError as error:
                outcome.status.CopyFrom(error.to_status())
            else:
                outcome.uid = old.metadata.uid
        return response

    def _batch_claim(self, request: capacity_pb2.BatchClaimRequest) -> capacity_pb2.BatchClaimResponse:
        """Every claim is held, but for those that ``refuse_claim`` was called for."""
        response = capacity_pb2.BatchClaimResponse()
        for claim in request.claims:
            outcome = response.outcomes.add(pod_uid=claim.metadata.name, node_name=claim.spec.node_name)
            refusal = self._refused_claims.get(claim.metadata.name)
            if refusal is None:
                outcome.state = capacity_pb2.ClaimOutcome.HELD
                self.put(CAPACITY_CLAIMS, claim)
            else:
                outcome.state = capacity_pb2.ClaimOutcome.REFUSED
                outcome.status.CopyFrom(refusal.to_status())
        return response

    def _batch_release(self, request: capacity_pb2.BatchReleaseRequest) -> meta_pb2.BatchResponse:
        response = meta_pb2.BatchResponse()
        for release in request.releases:
            response.outcomes.add(name=release.pod_uid)
            self.refuse_claim(release.pod_uid, None)
        return response

    def _batch(self, kind: Kind, method: str, objects: Any) -> meta_pb2.BatchResponse:
        response = meta_pb2.BatchResponse()
        for message in objects:
            outcome = response.outcomes.add(name=message.metadata.name)
            try:
                stored = self._one(kind, method, message)
            except StatusError as error:
                outcome.status.CopyFrom(error.to_status())
            else:
                outcome.uid, outcome.resource_version = stored.metadata.uid, stored.metadata.resource_version
        return response

    def _one(self, kind: Kind, method: str, message: Any) -> Any:
        key = keys.key_of(kind if method != "Bind" else PODS, message)
        old = self.objects[kind.resource].get(key)
        if method == "Create":
            if old is not None:
                raise status.already_exists(kind.resource, message.metadata.name)
            new = kind.message()
            new.CopyFrom(message)
            new.metadata.uid = self._new_uid()
            new.metadata.creation_timestamp.CopyFrom(self._now())
            return self._commit(kind, key, None, new)
        self._check(kind, old, message.metadata.name, message.metadata.uid, message.metadata.resource_version)
        if method == "UpdateStatus" and message.metadata.name in self._poison:
            raise self._poison[message.metadata.name]
        new = kind.message()
        new.CopyFrom(old)
        if method == "UpdateStatus":
            new.status.CopyFrom(message.status)
            if kind in (PODS, NODES) and not message.metadata.resource_version:
                merge_conditions(new.status, old.status)
        elif method == "Bind":
            new.spec.node_name, new.spec.resource_partition = message.target.name, message.resource_partition
        else:
            metadata = meta_pb2.ObjectMeta()
            metadata.CopyFrom(old.metadata)
            new.CopyFrom(message)
            if kind.has_status:
                new.status.CopyFrom(old.status)
            new.metadata.uid = metadata.uid
        return self._commit(kind, key, old, new)

    def _delete(self, kind: Kind, request: meta_pb2.DeleteRequest) -> Any:
        old = self._existing(kind, request)
        self._check(kind, old, request.name, request.preconditions.uid, request.preconditions.resource_version)
        own = kind is PODS and old.spec.HasField("termination_grace_period_seconds")
        default = old.spec.termination_grace_period_seconds if own else 30
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else default
        key = keys.key_of(kind, old)
        at_once = kind is not PODS or not old.spec.node_name or old.status.phase in _TERMINAL
        if at_once or grace == 0:
            self._commit(kind, key, old, None)
            return old
        new = kind.message()
        new.CopyFrom(old)
        new.metadata.deletion_timestamp.CopyFrom(self._now(grace))
        new.metadata.deletion_grace_period_seconds = grace
        return self._commit(kind, key, old, new)

    def _existing(self, kind: Kind, request: Any) -> Any:
        found = self.get(kind, request.name, request.tenant, request.namespace)
        if found is None:
            raise status.not_found(kind.resource, request.name)
        return found

    @staticmethod
    def _check(kind: Kind, old: Any, name: str, uid: str, resource_version: int) -> None:
        if old is None:
            raise status.not_found(kind.resource, name)
        if (uid and uid != old.metadata.uid) or (
            resource_version and resource_version != old.metadata.resource_version
        ):
            raise status.conflict(kind.resource, name, "precondition failed")

    def _list(self, kind: Kind, request: meta_pb2.ListRequest) -> bytes:
        probe = _Watch(0, kind, _as_watch(request), lambda _: None)
        found = [m for key, m in sorted(self.objects[kind.resource].items()) if probe.wants(key, m)]
        start = int(request.continue_token or 0)
        page = found[start : start + request.limit] if request.limit else found
        more = bool(request.limit) and start + request.limit < len(found)
        metadata = meta_pb2.ListMeta(
            resource_version=self.resource_version,
            continue_token=str(start + request.limit) if more else "",
            remaining_item_count=len(found) - start - len(page) if more else None,
        )
        return kind.list_message(items=page, metadata=metadata).SerializeToString()

    def _commit(self, kind: Kind, key: str, old: Any, new: Any) -> Any:
        if new is not None and old is not None:
            new.metadata.resource_version = old.metadata.resource_version
            if new == old:
                return old
        self.resource_version += 1
        if new is not None:
            new.metadata.resource_version = self.resource_version
            self.objects[kind.resource][key] = new
        else:
            self.objects[kind.resource].pop(key)
        self._history.append((self.resource_version, kind.resource, key, old, new))
        for stream in list(self._streams):
            stream.commit(self.resource_version, kind.resource, key, old, new)
        return new

    def _now(self, plus_s: float = 0.0) -> Timestamp:
        return Timestamp(seconds=int(self._clock.time() + plus_s))

    # Watches.

    def open_stream(self) -> _Stream:
        return self._opened(_Stream(self))

    def open_renewals(self) -> FakeRenewals:
        return self._opened(FakeRenewals(self))

    def _opened(self, stream: Any) -> Any:
        if self.down:
            raise status.unavailable("partition is down")
        self._streams[stream] = None
        return stream

    def forget_stream(self, stream: _Stream | FakeRenewals) -> None:
        self._streams.pop(stream, None)

    def begin_watch(self, stream: _Stream, create: watch_pb2.CreateWatch) -> None:
        request, watch_id = create.selection, create.watch_id
        kind = KINDS[create.resource]
        watch = _Watch(watch_id, kind, request, stream.emit)
        if request.send_initial_events:
            stream.watches[watch_id] = watch
            stream.emit(watch_pb2.WatchBatch(watch_id=watch_id, created=True))
            batch = watch_pb2.WatchBatch(
                watch_id=watch_id, resource_version=self.resource_version, initial_events_end=True, bookmark=True
            )
            for key, message in sorted(self.objects[kind.resource].items()):
                if watch.wants(key, message):
                    batch.events.add(type=watch_pb2.ADDED, object=message.SerializeToString())
            stream.emit(batch)
            return
        if request.resource_version < self.floor:
            error = status.expired("compacted").to_status()
            stream.emit(watch_pb2.WatchBatch(watch_id=watch_id, error=error, canceled=True))
            return
        stream.watches[watch_id] = watch
        stream.emit(watch_pb2.WatchBatch(watch_id=watch_id, created=True))
        for version, resource, key, old, new in self._history:
            if version > request.resource_version and resource == kind.resource:
                stream.send(watch, version, key, old, new)


class _Stream:
    """The server's end of one multiplexed watch stream; ``read`` gives its messages, None when it is lost."""

    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition
        self.watches: dict[int, _Watch] = {}
        self._queue: asyncio.Queue[watch_pb2.WatchServerMessage | None] = asyncio.Queue()

    def take(self, message: watch_pb2.WatchClientMessage) -> None:
        if message.HasField("create"):
            self._partition.begin_watch(self, message.create)
        elif self.watches.pop(message.cancel.watch_id, None) is not None:
            self.emit(watch_pb2.WatchBatch(watch_id=message.cancel.watch_id, canceled=True))

    def commit(self, version: int, resource: str, key: str, old: Any, new: Any) -> None:
        for watch in self.watches.values():
            if watch.kind.resource == resource:
                self.send(watch, version, key, old, new)

    def send(self, watch: _Watch, version: int, key: str, old: Any, new: Any) -> None:
        event = watch.event(key, old, new)
        if event is not None:
            self.emit(watch_pb2.WatchBatch(watch_id=watch.watch_id, resource_version=version, events=[event]))

    def emit(self, batch: watch_pb2.WatchBatch) -> None:
        self._queue.put_nowait(watch_pb2.WatchServerMessage(batches=[batch]))

    async def read(self) -> watch_pb2.WatchServerMessage | None:
        return await self._queue.get()

    def lose(self) -> None:
        self.watches.clear()
        self._partition.forget_stream(self)
        self._queue.put_nowait(None)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _as_watch(request: meta_pb2.ListRequest) -> meta_pb2.WatchRequest:
    return meta_pb2.WatchRequest(
        tenant=request.tenant,
        namespace=request.namespace,
        label_selector=request.label_selector,
        field_selector=request.field_selector,
    )


# Without a socket.


class FakeChannel:
    """As much of a ``grpc.aio.Channel`` as the clientset and the mux use, straight onto a ``FakePartition``."""

    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, timeout: float, metadata: Any) -> Any:
            try:
                return response_deserializer(await self._partition.answer(path, request_serializer(request), timeout))
            except StatusError as error:
                raise _rpc_error(error) from error

        return call

    def unary_stream(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, timeout: float, metadata: Any) -> AsyncIterator[Any]:
            try:
                yield response_deserializer(await self._partition.call(path, request_serializer(request)))
            except StatusError as error:
                raise _rpc_error(error) from error

        return call

    def stream_stream(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        renews = path.endswith("/Renew")
        return lambda: _FakeStreamCall(self._partition.open_renewals if renews else self._partition.open_stream)

    def get_state(self) -> grpc.ChannelConnectivity:
        down = self._partition.down
        return grpc.ChannelConnectivity.TRANSIENT_FAILURE if down else grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        pass


class _FakeStreamCall:
    def __init__(self, open_stream: Callable[[], Any]) -> None:
        self._stream: Any = None
        self._error: StatusError | None = None
        try:
            self._stream = open_stream()
        except StatusError as error:
            self._error = error

    async def read(self) -> Any:
        message = await self._stream.read() if self._stream is not None else None
        if message is None:
            raise _rpc_error(self._error or status.unavailable("connection lost"))
        return message

    async def write(self, message: Any) -> None:
        if self._stream is None:
            raise _rpc_error(status.unavailable("connection lost"))
        self._stream.take(message)

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.lose()

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE


def _rpc_error(error: StatusError) -> grpc.aio.AioRpcError:
    details = ((status.DETAILS_KEY, error.to_status().SerializeToString()),)
    return grpc.aio.AioRpcError(
        error.code, grpc.aio.Metadata(), grpc.aio.Metadata(*details), error.message, error.message
    )


# With a socket.


class _Generic(grpc.GenericRpcHandler):
    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition

    def service(self, details: Any) -> Any:
        path = details.method
        if path == methods.WATCH_METHOD:
            return grpc.stream_stream_rpc_method_handler(
                self._watch,
                watch_pb2.WatchClientMessage.FromString,
                watch_pb2.WatchServerMessage.SerializeToString,
            )
        if path.endswith("/List"):

            async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
                yield await self._call(path, request, context)

            return grpc.unary_stream_rpc_method_handler(stream)

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._call(path, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _call(self, path: str, request: bytes, context: Any) -> bytes:
        try:
            return await self._partition.call(path, request)
        except StatusError as error:
            await status.abort(context, error)
            raise

    async def _watch(self, requests: AsyncIterator[Any], context: Any) -> None:
        stream = self._partition.open_stream()

        async def take() -> None:
            async for message in requests:
                stream.take(message)

        taking = asyncio.create_task(take())
        try:
            while (message := await stream.read()) is not None:
                await context.write(message)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")
        finally:
            taking.cancel()
            stream.lose()


@contextlib.asynccontextmanager
async def serve(partition: FakePartition, port: int = 0) -> AsyncIterator[str]:
    """Serve ``partition`` on a port of 127.0.0.1; gives ``host:port``."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((_Generic(partition),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(0)


def channel_to(endpoint: str) -> grpc.aio.Channel:
    return make_channel([endpoint])
