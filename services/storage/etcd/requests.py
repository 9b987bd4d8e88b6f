"""etcd requests as values: the few shapes that storage needs. Source: etcd ``api/etcdserverpb/rpc.proto``."""

from __future__ import annotations

from typing import Any

from aetcd import rpc


def put(key: bytes, value: bytes, lease_id: int = 0) -> Any:
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease_id))


def read(key: bytes, revision: int = 0) -> Any:
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key, revision=revision))


def range_of(
    key: bytes,
    end: bytes,
    *,
    revision: int = 0,
    limit: int = 0,
    serializable: bool = False,
    keys_only: bool = False,
    count_only: bool = False,
) -> Any:
    """Keys in [key, end), ascending."""
    return rpc.RangeRequest(
        key=key,
        range_end=end,
        revision=revision,
        limit=limit,
        serializable=serializable,
        keys_only=keys_only,
        count_only=count_only,
    )


def watch(key: bytes, end: bytes, start_revision: int, *, previous: bool) -> Any:
    """Always in fragments: a resumed watch would otherwise send its whole backlog as one message."""
    create = rpc.WatchCreateRequest(
        key=key, range_end=end, start_revision=start_revision, fragment=True, prev_kv=previous
    )
    return rpc.WatchRequest(create_request=create)


def progress() -> Any:
    return rpc.WatchRequest(progress_request=rpc.WatchProgressRequest())
