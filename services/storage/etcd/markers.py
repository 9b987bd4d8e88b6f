"""Markers: a write whose event tells a feed how far it is, where etcd's progress responses cannot be believed."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.storage.etcd import frames
from services.storage.etcd.calls import Calls
from services.storage.etcd.failures import Refusal, refusal_of, unavailable


async def write_markers(calls: Calls, keys: Sequence[bytes]) -> list[int]:
    """All in one transaction if etcd takes so many. Returns the revision of each. Raises ``Unavailable``."""
    # In the form that etcd takes without space too: a full database can still be read and watched.
    puts = b"".join(frames.success(frames.put(key, b"")) for key in keys)
    try:
        response = await calls.send_transaction(frames.transaction(b"", (frames.success(frames.nested(puts)),)))
        return [int(response.header.revision)] * len(keys)
    except grpc.aio.AioRpcError as failure:
        if refusal_of(failure) is Refusal.TOO_MANY_OPERATIONS and len(keys) > 1:
            half = len(keys) // 2
            return [*await write_markers(calls, keys[:half]), *await write_markers(calls, keys[half:])]
        raise unavailable(failure) from failure
