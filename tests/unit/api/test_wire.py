"""Canonical bytes, the spliced resource version, and frames that add up to lists and watch batches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import wire
from services.api.kinds import KINDS, PODS, Kind
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodList, PodWatchBatch
from services.api.pb.ursa.watch.v1.watch_pb2 import WatchBatch
from services.storage.interface import Record
from tests.unit.api import arbitrary

REVISIONS = st.integers(1, 2**63 - 1)


@st.composite
def objects(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(arbitrary.kinds)
    return kind, draw(arbitrary.messages(kind))


def pod(name: str = "web") -> Pod:
    found = Pod()
    found.metadata.name = name
    found.spec.containers.add(name="main", image="nginx")
    return found


@given(objects(), REVISIONS)
def test_served_bytes_parse_to_the_object_with_its_resource_version(found: tuple[Kind, Any], revision: int) -> None:
    kind, message = found
    served = kind.message.FromString(wire.with_resource_version(wire.canonical(message), revision))
    message.metadata.resource_version = revision
    assert served == message


@given(objects(), REVISIONS)
def test_canonical_bytes_are_the_same_whatever_went_over_the_wire(found: tuple[Kind, Any], revision: int) -> None:
    kind, message = found
    stored = wire.canonical(message)
    served = kind.message.FromString(wire.with_resource_version(stored, revision))
    served.api_version, served.kind = kind.api_version, kind.name
    assert wire.canonical(served) == stored
    assert wire.canonical(kind.message.FromString(stored)) == stored


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_an_object_without_metadata_gets_its_resource_version_and_loses_it_again(kind: Kind) -> None:
    assert wire.canonical(kind.message()) == b""
    served = kind.message.FromString(wire.with_resource_version(b"", 300))
    assert served.metadata.resource_version == 300
    assert wire.canonical(served) == b""


def test_canonical_does_not_change_the_message() -> None:
    message = pod()
    message.api_version, message.metadata.resource_version = "v1", 5
    before = message.SerializeToString(deterministic=True)
    wire.canonical(message)
    assert message.SerializeToString(deterministic=True) == before


def test_canonical_bytes_do_not_depend_on_the_order_of_labels() -> None:
    one, other = pod(), pod()
    for key in ("a", "b", "c", "d"):
        one.metadata.labels[key] = key
    for key in ("d", "c", "b", "a"):
        other.metadata.labels[key] = key
    assert wire.canonical(one) == wire.canonical(other)


@given(st.integers(0, 2**63 - 1))
def test_varint_is_protobufs(number: int) -> None:
    # A WatchBatch of one field: tag 0x10, then the varint.
    expected = WatchBatch(resource_version=number).SerializeToString()[1:] or b"\x00"
    assert wire.varint(number) == expected


@given(st.integers(1, 2**20), st.binary(max_size=300))
def test_a_frame_is_its_tag_its_length_and_its_payload(number: int, payload: bytes) -> None:
    assert wire.frame(number, payload) == wire.varint(number << 3 | 2) + wire.varint(len(payload)) + payload


@given(st.lists(st.tuples(st.text(max_size=300), REVISIONS), max_size=5), st.booleans())
def test_a_list_is_the_join_of_its_frames(items: list[tuple[str, int]], paged: bool) -> None:
    records = [Record(name, wire.canonical(pod(name or "x")), revision) for name, revision in items]
    parts, end = wire.list_items(records, 0, 1 << 20)
    assert end == len(items)
    meta = wire.list_meta(77, "next", 3) if paged else wire.list_meta(77)
    found = PodList.FromString(b"".join(parts) + meta)
    assert [(item.metadata.name, item.metadata.resource_version) for item in found.items] == [
        (name or "x", revision) for name, revision in items
    ]
    assert found.metadata.resource_version == 77
    assert (found.metadata.continue_token, found.metadata.remaining_item_count) == (("next", 3) if paged else ("", 0))
    assert found.metadata.HasField("remaining_item_count") == paged


@given(st.lists(st.integers(0, 20_000), max_size=8), st.integers(1, 40_000), st.integers(0, 9))
def test_a_part_of_a_list_ends_when_it_has_its_bytes(sizes: list[int], target: int, start: int) -> None:
    records = [Record("", bytes(size), 16_383 + index) for index, size in enumerate(sizes)]
    pieces, end = wire.list_items(records, start, target)
    assert [len(value) for value in pieces[1::3]] == sizes[start:end]
    frames = [sum(map(len, pieces[at : at + 3])) for at in range(0, len(pieces), 3)]
    assert len(frames) == max(0, end - start)
    # The last object is the one that reaches the target, give or take the frames' own bytes.
    assert sum(sizes[start : end - 1]) < target
    assert end >= len(records) or sum(frames) >= target


@given(st.lists(st.tuples(st.integers(1, 3), st.text(max_size=300), REVISIONS), max_size=5))
def test_a_watch_batch_is_the_join_of_its_events_typed_or_not(events: list[tuple[int, str, int]]) -> None:
    joined = b"".join(
        wire.watch_event(event_type, wire.canonical(pod(name or "x")), revision)
        for event_type, name, revision in events
    )
    typed, untyped = PodWatchBatch.FromString(joined), WatchBatch.FromString(joined)
    wanted = [(event_type, name or "x", revision) for event_type, name, revision in events]
    assert [(e.type, e.object.metadata.name, e.object.metadata.resource_version) for e in typed.events] == wanted
    parsed = [(event.type, Pod.FromString(event.object)) for event in untyped.events]
    assert [(kind, found.metadata.name, found.metadata.resource_version) for kind, found in parsed] == wanted


def test_unknown_fields_are_found_where_they_are() -> None:
    message = pod()
    assert wire.has_unknown_fields(message) == ""
    nested = Pod.FromString(message.SerializeToString() + wire.frame(2, wire.frame(3, wire.frame(99, b"x"))))
    assert wire.has_unknown_fields(nested) == "spec.containers[1].#99"
    top = Pod.FromString(message.SerializeToString() + wire.frame(77, b"x"))
    assert wire.has_unknown_fields(top) == "#77"


@given(arbitrary.messages(PODS))
def test_a_message_of_known_fields_has_no_unknown_ones(message: Pod) -> None:
    assert wire.has_unknown_fields(message) == ""
    assert wire.has_unknown_fields(Pod.FromString(message.SerializeToString() + b"\xd8\x3e\x01")) == "#1003"
