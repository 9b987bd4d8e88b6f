"""The scanner counts what the server's own encoders write, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import wire
from services.api.pb.ursa.core.v1 import pod_service_pb2
from services.api.pb.ursa.watch.v1.watch_pb2 import WatchBatch, WatchServerMessage
from services.bench import scan
from services.storage.interface import Record

revisions = st.integers(min_value=1, max_value=2**40)
stored = st.binary(max_size=300)


def batch_of(events: list[tuple[bytes, int]]) -> bytes:
    frames = [wire.watch_event(1, value, revision) for value, revision in events]
    return b"\x10" + wire.varint(events[-1][1]) + b"".join(frames)


@given(st.integers(min_value=0, max_value=2**63 - 1), st.binary(max_size=3))
def test_varints_are_read_as_they_are_written(number: int, before: bytes) -> None:
    data = before + wire.varint(number) + b"\x7f"
    assert scan.varint(data, len(before)) == (number, len(data) - 1)


@given(st.lists(st.tuples(stored, revisions), min_size=1, max_size=20), st.binary(max_size=5))
def test_events_of_a_batch_are_counted_and_their_versions_found(events: list[tuple[bytes, int]], around: bytes) -> None:
    encoded = batch_of(events)
    data, start, end = around + encoded + around, len(around), len(around) + len(encoded)
    assert scan.batch(data, start, end) == (0, events[-1][1], len(events))
    assert scan.revisions(data, start, end) == [revision for _, revision in events]


def test_a_bookmark_is_no_event() -> None:
    data = WatchBatch(watch_id=300, resource_version=7, bookmark=True, initial_events_end=True).SerializeToString()
    assert scan.batch(data, 0, len(data)) == (300, 7, 0)
    assert scan.revisions(data, 0, len(data)) == []


def test_batches_of_a_multiplexed_message_are_found() -> None:
    message = WatchServerMessage()
    message.batches.add(watch_id=1, created=True)
    message.batches.add(watch_id=200, resource_version=500).events.add(type=1, object=b"pod")
    data = message.SerializeToString()
    extents = scan.batches(data, 0, len(data))
    assert [scan.batch(data, *extent) for extent in extents] == [(1, 0, 0), (200, 500, 1)]


def test_the_end_of_a_watch_is_never_counted_as_something_else() -> None:
    message = WatchBatch(watch_id=4, canceled=True)
    message.error.message = "too old"
    data = message.SerializeToString()
    with pytest.raises(scan.Malformed, match="too old"):
        scan.batch(data, 0, len(data))


@pytest.mark.parametrize("data", [b"\x1a\x05ab", b"\x10\x01\x1a\x09abc"], ids=["cut event", "event beyond its batch"])
def test_a_batch_that_does_not_add_up_is_refused(data: bytes) -> None:
    with pytest.raises(scan.Malformed, match="after its batch"):
        scan.batch(data, 0, len(data))


@given(
    st.lists(st.lists(st.tuples(stored, revisions), max_size=8), min_size=1, max_size=4),
    st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=20),
)
def test_items_of_a_list_are_counted_wherever_the_stream_is_cut(
    parts: list[list[tuple[bytes, int]]], cuts: list[int]
) -> None:
    records = [[Record("", value, revision) for value, revision in part] for part in parts]
    messages = [b"".join(wire.list_items(part, 0, 1 << 20)[0]) for part in records]
    messages[-1] += wire.list_meta(9)
    stream = bytearray(b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages))
    counter = scan.ItemCounter()
    position = turn = 0
    while position < len(stream):
        end = min(len(stream), position + cuts[turn % len(cuts)])
        counter.receive(stream, position, end)
        position, turn = end, turn + 1
    assert counter.items == sum(map(len, parts))
    assert counter.parts == len(parts) and counter.complete


def test_a_list_that_ends_early_is_not_complete() -> None:
    counter = scan.ItemCounter()
    message = pod_service_pb2.PodList(items=[{}, {}]).SerializeToString()  # type: ignore[list-item]
    counter.receive(bytearray(b"\0" + len(message).to_bytes(4, "big") + message), 0, 5 + len(message))
    assert counter.items == 2 and not counter.complete
