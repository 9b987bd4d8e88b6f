"""The truth, recorded as it happens: a watch of our own on etcd, from the first revision on, past every outage."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import grpc
from aetcd import rpc

from services.rpc.channel import channel_over, target_of
from tests.robustness.history import Final, Incident, Recorder, Truth
from tests.robustness.objects import describe

_BROKEN = (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError)
_KINDS = ("pods", "leases")


class TruthKeeper:
    """``run`` it throughout. ``revision``: everything up to here is recorded, so etcd may be compacted to there."""

    def __init__(self, endpoints: Sequence[str], recorder: Recorder) -> None:
        self.revision = 0
        self._recorder = recorder
        # Straight to etcd, through no link: the truth sees no fault of the network.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_reconnect_backoff_ms", 500)]
        self._channel = channel_over(
            endpoints, lambda endpoint: grpc.aio.insecure_channel(target_of(endpoint), options), sticky=True
        )
        self._kv = rpc.KVStub(self._channel)
        self._watch = rpc.WatchStub(self._channel)
        self._maintenance = rpc.MaintenanceStub(self._channel)
        self._alarmed = 0

    async def run(self) -> None:
        try:
            while True:
                with contextlib.suppress(*_BROKEN):
                    await self._follow()
                await asyncio.sleep(0.05)
        finally:
            await self._channel.close()

    async def compact(self) -> int:
        """Compact etcd's history as far as it is recorded. Raises ``grpc.RpcError``."""
        revision = self.revision
        if revision:
            await self._kv.Compact(rpc.CompactionRequest(revision=revision), timeout=3.0)
        return revision

    async def arm(self) -> None:
        """Raise the NOSPACE alarm, as etcd does when it has reached its quota. Raises ``grpc.RpcError``."""
        await self._alarm(rpc.AlarmRequest.ACTIVATE)

    async def disarm(self) -> None:
        """As an operator does who has made space. Raises ``grpc.RpcError``."""
        await self._alarm(rpc.AlarmRequest.DEACTIVATE)

    async def _alarm(self, action: int) -> None:
        status = await self._maintenance.Status(rpc.StatusRequest(), timeout=3.0)
        member = self._alarmed or status.header.member_id
        self._alarmed = member if action == rpc.AlarmRequest.ACTIVATE else 0
        request = rpc.AlarmRequest(action=action, memberID=member, alarm=rpc.NOSPACE)
        await self._maintenance.Alarm(request, timeout=3.0)

    async def current(self) -> int:
        """etcd's revision, by a quorum read. Raises ``grpc.RpcError``."""
        response = await self._kv.Range(rpc.RangeRequest(key=b"/ursa/pods/", count_only=True), timeout=3.0)
        return int(response.header.revision)

    async def finish(self) -> Final:
        """What etcd holds when everything up to then is recorded. Raises ``grpc.RpcError``, ``TimeoutError``."""
        async with asyncio.timeout(20.0):
            current = await self.current()
            while self.revision < current:  # noqa: ASYNC110 – a number to compare with, not an event
                await asyncio.sleep(0.05)
        held: dict[str, int] = {}
        revision = 0
        for kind in _KINDS:
            prefix = f"/ursa/{kind}/".encode()
            response = await self._kv.Range(rpc.RangeRequest(key=prefix, range_end=prefix[:-1] + b"0"), timeout=10.0)
            held.update({kv.key.decode(): kv.mod_revision for kv in response.kvs})
            revision = int(response.header.revision)
        return Final(time.monotonic(), revision, held)

    async def _follow(self) -> None:
        stream: Any = self._watch.Watch()
        try:
            # Every key: markers and other kinds tell how far etcd is, too.
            request = rpc.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=self.revision + 1)
            await stream.write(rpc.WatchRequest(create_request=request))
            while (response := await stream.read()) is not grpc.aio.EOF:
                if response.canceled:
                    self._recorder.add(Incident(time.monotonic(), f"the truth was lost: {response.cancel_reason}"))
                    return
                now = time.monotonic()
                for event in response.events:
                    self._note(event, now)
                if response.events:
                    self.revision = response.events[-1].kv.mod_revision
        finally:
            stream.cancel()

    def _note(self, event: Any, now: float) -> None:
        key = event.kv.key.decode()
        if not key.startswith(("/ursa/pods/", "/ursa/leases/")):
            return
        if event.type == rpc.Event.PUT:
            self._recorder.add(describe(key, event.kv.value, event.kv.mod_revision, now))
        else:
            self._recorder.add(Truth(now, event.kv.mod_revision, key, deleted=True))
