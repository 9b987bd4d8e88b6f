"""Watch batches as bytes. A batch that many watches share is joined once."""

from __future__ import annotations

from services.api import wire
from services.api.pb.ursa.watch.v1.watch_pb2 import WatchBatch as WatchBatchMessage
from services.rpc.status import StatusError
from services.storage.interface import WatchBatch

_WATCH_ID_TAG = b"\x08"  # field 1 of ursa.watch.v1.WatchBatch
_RESOURCE_VERSION_TAG = b"\x10"  # field 2
_BOOKMARK = b"\x20\x01"  # field 4, true
_INITIAL_EVENTS_END = b"\x28\x01"  # field 5, true
_BATCHES_TAG = b"\x0a"  # field 1 of ursa.watch.v1.WatchServerMessage

_SHARED_MAX = 32


class BatchEncoder:
    """``encode`` gives the fields of a WatchBatch message (typed or multiplexed) except its watch_id.

    Watches at the same position of one store are handed the very same batch; the last few are kept encoded.
    """

    def __init__(self) -> None:
        self._recent: dict[int, tuple[WatchBatch, bytes]] = {}

    def encode(self, batch: WatchBatch) -> bytes:
        found = self._recent.get(id(batch))
        if found is not None and found[0] is batch:
            return found[1]
        encoded = encode(batch)
        if len(batch.events) > 1:
            if len(self._recent) >= _SHARED_MAX:
                self._recent.pop(next(iter(self._recent)))
            self._recent[id(batch)] = batch, encoded
        return encoded


def encode(batch: WatchBatch) -> bytes:
    """The fields of a WatchBatch message except its watch_id."""
    parts: list[bytes] = []
    if batch.revision:
        parts += (_RESOURCE_VERSION_TAG, wire.varint(batch.revision))
    parts += [event.wire for event in batch.events]
    if batch.bookmark:
        parts.append(_BOOKMARK)
    if batch.initial_events_end:
        parts.append(_INITIAL_EVENTS_END)
    return b"".join(parts)


def prefix_of(watch_id: int) -> bytes:
    """What goes before an encoded batch to say whose it is."""
    return _WATCH_ID_TAG + wire.varint(watch_id)


def sub_batch(prefix: bytes, encoded: bytes) -> bytes:
    """One ``batches`` frame of a WatchServerMessage."""
    return b"".join((_BATCHES_TAG, wire.varint(len(prefix) + len(encoded)), prefix, encoded))


def created(watch_id: int) -> bytes:
    """The ``batches`` frame that confirms a watch."""
    return _framed(WatchBatchMessage(watch_id=watch_id, created=True))


def canceled(watch_id: int) -> bytes:
    """The ``batches`` frame that confirms a CancelWatch."""
    return _framed(WatchBatchMessage(watch_id=watch_id, canceled=True))


def failed(watch_id: int, error: StatusError) -> bytes:
    """The ``batches`` frame that ends a watch."""
    return _framed(WatchBatchMessage(watch_id=watch_id, error=error.to_status(), canceled=True))


def _framed(message: WatchBatchMessage) -> bytes:
    encoded = message.SerializeToString()
    return b"".join((_BATCHES_TAG, wire.varint(len(encoded)), encoded))
