"""A renewal splices one timestamp into a lease's bytes: the same as parsing, setting it and encoding again."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.api import wire
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.apiserver import leasebytes

texts = st.text(max_size=40)
times = st.builds(
    Timestamp, seconds=st.integers(min_value=0, max_value=253_402_300_799), nanos=st.integers(0, 999_999_999)
)


@st.composite
def leases(draw: st.DrawFn) -> Any:
    lease: Any = Lease()
    metadata, spec = lease.metadata, lease.spec
    if draw(st.booleans()):
        metadata.name, metadata.namespace, metadata.uid = draw(texts), draw(texts), draw(texts)
        metadata.labels.update(draw(st.dictionaries(texts, texts, max_size=4)))
        for uid in draw(st.lists(texts, max_size=2)):
            metadata.owner_references.add(kind="Node", name="n", uid=uid)
    if draw(st.booleans()):
        spec.holder_identity = draw(texts)
        spec.lease_transitions = draw(st.integers(-(2**31), 2**31 - 1))
        if draw(st.booleans()):
            spec.lease_duration_seconds = draw(st.integers(-(2**31), 2**31 - 1))
        if draw(st.booleans()):
            spec.acquire_time.CopyFrom(draw(times))
        if draw(st.booleans()):
            spec.renew_time.CopyFrom(draw(times))
    return lease


def by_parsing(value: bytes, time: Timestamp) -> bytes:
    lease: Any = Lease.FromString(value)
    lease.spec.renew_time.CopyFrom(time)
    return wire.canonical(lease)


@given(leases(), times)
def test_splicing_gives_what_parsing_and_encoding_gives(lease: Any, time: Timestamp) -> None:
    stored = wire.canonical(lease)
    found = leasebytes.seams(stored)
    assert leasebytes.spliced(stored, found, leasebytes.renew_time_field(time)) == by_parsing(stored, time)
    assert found.holder.decode() == lease.spec.holder_identity
    assert leasebytes.holder_of(stored) == found.holder
    assert leasebytes.uid_of(stored) == lease.metadata.uid


@given(leases(), st.lists(times, min_size=2, max_size=5))
def test_a_lease_that_is_renewed_again_and_again_does_not_grow(lease: Any, renewals: list[Timestamp]) -> None:
    value = wire.canonical(lease)
    for time in renewals:
        value = leasebytes.renewed(value, leasebytes.renew_time_field(time))
    assert value == by_parsing(wire.canonical(lease), renewals[-1])


@given(leases(), leases(), times)
def test_bytes_in_another_form_are_parsed_and_written_anew(lease: Any, more: Any, time: Timestamp) -> None:
    """Occurrences of a field that were appended are merged, as protobuf has it."""
    value = lease.SerializeToString() + more.SerializeToString() + b"\x72\x03v/1"  # the last: api_version
    merged = Lease.FromString(value)
    with pytest.raises(leasebytes.NotCanonical):
        leasebytes.seams(value)
    assert leasebytes.renewed(value, leasebytes.renew_time_field(time)) == by_parsing(value, time)
    assert leasebytes.holder_of(value).decode() == merged.spec.holder_identity


@given(st.binary(max_size=60))
def test_what_is_no_lease_is_never_taken_for_one(value: bytes) -> None:
    """Whatever has seams has them where a parser finds the fields."""
    try:
        found = leasebytes.seams(value)
    except leasebytes.NotCanonical:
        return
    field = leasebytes.renew_time_field(Timestamp(seconds=1_700_000_000, nanos=5))
    try:
        before: Any = Lease.FromString(value)
    except DecodeError:
        return  # Metadata, or text, that no parser takes: it is kept as it is, and was never stored.
    after: Any = Lease.FromString(leasebytes.spliced(value, found, field))
    before.spec.renew_time.seconds, before.spec.renew_time.nanos = 1_700_000_000, 5
    assert after == before


@given(leases(), st.data())
def test_bytes_that_are_cut_off_have_no_seams_within(lease: Any, data: st.DataObject) -> None:
    stored = wire.canonical(lease)
    if not lease.HasField("spec") or not lease.spec.ByteSize():
        return
    spec_at = leasebytes.seams(stored).spec_at
    cut = stored[: data.draw(st.integers(spec_at + 1, len(stored) - 1))]
    with pytest.raises(leasebytes.NotCanonical):
        leasebytes.seams(cut)
