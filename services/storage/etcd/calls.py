"""etcd's calls with a deadline and a measure on each, over the stubs in ``aetcd.rpc``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from aetcd import rpc

from services.base.clock import Clock
from services.storage.etcd import metrics

# Cut off from its cluster's majority, a member refuses the call or ends the stream instead of going silent.
_LED = (("hasleader", "true"),)


class Calls:
    """All raise ``grpc.aio.AioRpcError``.

    ``require_leader``: a member without one refuses at once, instead of having the call wait for its deadline. Of use
    where another member may be asked.
    """

    def __init__(
        self, channel: grpc.aio.Channel, clock: Clock, timeout_s: float, *, require_leader: bool = False
    ) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._metadata = _LED if require_leader else None
        self._kv = rpc.KVStub(channel)
        self._lease = rpc.LeaseStub(channel)
        self._maintenance = rpc.MaintenanceStub(channel)
        self._cluster = rpc.ClusterStub(channel)
        self._watch = rpc.WatchStub(channel)
        self._send_transaction: Callable[..., Awaitable[Any]] = channel.unary_unary(
            "/etcdserverpb.KV/Txn", request_serializer=None, response_deserializer=rpc.TxnResponse.FromString
        )

    async def transaction(self, request: Any) -> Any:
        return await self._call("txn", self._kv.Txn, request)

    async def send_transaction(self, request: bytes) -> Any:
        """A ``TxnRequest`` in wire form (``frames``)."""
        return await self._call("txn", self._send_transaction, request)

    async def range(self, request: Any) -> Any:
        return await self._call("range", self._read, request)

    def begin_range(self, request: Any) -> Any:
        """A range under way: await it for its response, or cancel it. For bulk, which is not measured."""
        return self._read(request, timeout=self._timeout_s, metadata=self._metadata)

    def _read(self, request: Any, timeout: float, metadata: Any) -> Any:
        # A serializable read is meant for a member that may not even have a leader.
        return self._kv.Range(request, timeout=timeout, metadata=None if request.serializable else metadata)

    async def compact(self, revision: int) -> None:
        await self._call("compact", self._kv.Compact, rpc.CompactionRequest(revision=revision))

    async def grant(self, ttl_s: int) -> int:
        """Returns the lease's id."""
        response = await self._call("lease_grant", self._lease.LeaseGrant, rpc.LeaseGrantRequest(TTL=ttl_s))
        return int(response.ID)

    async def status(self) -> Any:
        return await self._call("status", self._maintenance.Status, rpc.StatusRequest())

    async def members(self) -> Any:
        return await self._call("member_list", self._cluster.MemberList, rpc.MemberListRequest())

    def watch(self) -> Any:
        """A new watch stream. It ends when its member has lost its leader."""
        return self._watch.Watch(metadata=_LED)

    async def _call(self, name: str, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        started = self._clock.monotonic()
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            metrics.REQUEST_ERRORS.labels(name, failure.code().name).inc()
            raise
        finally:
            metrics.REQUEST_SECONDS.labels(name).observe(self._clock.monotonic() - started)
