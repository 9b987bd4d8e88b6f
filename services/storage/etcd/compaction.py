"""Compaction of etcd's history by one of all the servers that share an etcd.

Whoever first raises the version of the compaction key in an interval compacts, to the revision that was current an
interval before. Source: apiserver ``pkg/storage/etcd3/compact.go``.
"""

from __future__ import annotations

import logging

import grpc
from aetcd import rpc

from services.base.clock import Clock
from services.base.rand import Rand
from services.storage.etcd import requests
from services.storage.etcd.calls import Calls

_log = logging.getLogger(__name__)

KEY = b"/ursa.compaction"


class Compaction:
    """``run`` it in every server."""

    def __init__(self, calls: Calls, interval_s: float, clock: Clock, rand: Rand) -> None:
        self._calls = calls
        self._interval_s = interval_s
        self._clock = clock
        self._rand = rand
        self._version = 0
        self._revision = 0

    async def run(self) -> None:
        if self._interval_s <= 0:
            return
        while True:
            await self._clock.sleep(self._rand.jitter(self._interval_s, 0.05))
            try:
                await self.step()
            except grpc.aio.AioRpcError as failure:
                _log.info("not compacted this time: %s", failure.details())

    async def step(self) -> None:
        """One interval is over: compact, if no other server was first. Raises ``AioRpcError``."""
        mine = rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.VERSION, key=KEY, version=self._version)
        # One level below, where the quota does not count it: compaction is what a full database needs.
        put = rpc.TxnRequest(success=[requests.put(KEY, str(self._revision).encode())])
        transaction = rpc.TxnRequest(
            compare=[mine],
            success=[rpc.RequestOp(request_txn=put)],
            failure=[requests.read(KEY)],
        )
        response = await self._calls.transaction(transaction)
        target, self._revision = self._revision, response.header.revision
        if not response.succeeded:
            found = response.responses[0].response_range.kvs
            self._version = found[0].version if found else 0
            return
        self._version += 1
        if target:
            await self._calls.compact(target)
            _log.info("compacted etcd's history up to revision %d", target)
