"""What watch frames parse to: typed and multiplexed messages from the same bytes."""

from __future__ import annotations

from typing import Any

from services.api.kinds import PODS
from services.api.pb.ursa.watch.v1.watch_pb2 import WatchServerMessage
from services.apiserver import frames
from services.rpc import status
from services.rpc.status import from_status
from services.storage.interface import EventType, Record, WatchBatch
from services.storage.items import StoredEvent


def batch(*names: str) -> WatchBatch:
    events = []
    for name in names:
        pod: Any = PODS.message()
        pod.metadata.name = name
        record = Record(f"/ursa/pods/a/b/{name}", pod.SerializeToString(), 7)
        events.append(StoredEvent(EventType.ADDED, record))
    return WatchBatch(9, events)


def test_the_same_bytes_are_a_typed_and_a_multiplexed_batch() -> None:
    encoded = frames.encode(batch("x", "y"))
    typed: Any = PODS.watch_batch_message.FromString(encoded)
    assert [event.object.metadata.name for event in typed.events] == ["x", "y"]
    assert [event.object.metadata.resource_version for event in typed.events] == [7, 7]
    joined = b"".join(frames.sub_batch(frames.prefix_of(watch_id), encoded) for watch_id in (1, 300))
    message = WatchServerMessage.FromString(joined + frames.created(4))
    assert [(item.watch_id, item.resource_version, len(item.events)) for item in message.batches] == [
        (1, 9, 2),
        (300, 9, 2),
        (4, 0, 0),
    ]
    assert PODS.message.FromString(message.batches[1].events[0].object) == typed.events[0].object


def test_bookmarks_and_ends_are_marked() -> None:
    parsed: Any = PODS.watch_batch_message.FromString(
        frames.encode(WatchBatch(9, (), bookmark=True, initial_events_end=True))
    )
    assert (parsed.resource_version, parsed.bookmark, parsed.initial_events_end) == (9, True, True)
    (failed,) = WatchServerMessage.FromString(frames.failed(3, status.not_found("tenants", "x"))).batches
    assert (failed.watch_id, failed.canceled, from_status(failed.error).reason) == (3, True, "NotFound")


def test_a_shared_batch_is_joined_once() -> None:
    encoder, shared = frames.BatchEncoder(), batch("x", "y")
    assert encoder.encode(shared) is encoder.encode(shared)
    assert encoder.encode(batch("z", "z")) != encoder.encode(shared)
