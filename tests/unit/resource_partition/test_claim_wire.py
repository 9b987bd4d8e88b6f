"""Claims and ledgers in wire form are those of the real messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.api import wire
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import (
    BatchClaimRequest,
    BatchClaimResponse,
    CapacityClaim,
    CapacityLedger,
    ClaimOutcome,
)
from services.apiserver.writes import Makers
from services.base.clock import FakeClock
from services.base.ids import sequential_uids
from services.base.rand import Rand
from services.placement import ledger as rules
from services.placement.ledger import Ledger
from services.resource_partition import claimwire
from services.resource_partition.claimrequests import ClaimReader
from services.resource_partition.claimwire import PlainClaim
from services.resource_partition.ledgers import StoredLedger
from services.rpc.status import StatusError
from services.storage.interface import Lane, Record
from tests.unit.resource_partition.world import claim, node

BEGIN = Makers(FakeClock(), Rand(1), sequential_uids()).begin
RESOURCES = st.sampled_from(["cpu", "memory", "ephemeral-storage", "example.com/gpu", "é.example/x"])
AMOUNTS = st.dictionaries(RESOURCES, st.integers(0, 1 << 50), max_size=4)
NAMES = st.sampled_from(["n", "node-1", "n" * 200])


@st.composite
def claims(draw: st.DrawFn) -> CapacityClaim:
    found = CapacityClaim()
    found.metadata.name = draw(st.sampled_from(["a", "b" * 36, "c" * 253]))
    spec = found.spec
    spec.node_name, spec.node_uid = draw(NAMES), draw(st.sampled_from(["", "u" * 36]))
    spec.tenant_partition, spec.tenant = draw(st.sampled_from(["tp-1", "tp-2"])), "acme"
    spec.namespace, spec.pod_name = "default", draw(NAMES)
    spec.requests.update(draw(AMOUNTS))
    spec.bind_epoch = draw(st.integers(0, 1 << 40))
    return found


@given(st.lists(claims(), max_size=8))
def test_a_plain_claim_is_read_and_recorded_as_its_message_is(wanted: list[CapacityClaim]) -> None:
    reader = ClaimReader()
    request = BatchClaimRequest(claims=wanted).SerializeToString()
    for _ in range(2):  # the second time all templates are known
        for message, read in zip(wanted, reader.read(request), strict=True):
            assert isinstance(read, PlainClaim)
            assert read.message() == message
            stored = read.message()
            BEGIN(stored.metadata)
            assert read.record(stored.metadata.SerializeToString()) == wire.canonical(stored)
            assert read.template.amounts == rules.requests_of(message)


def test_other_claims_stay_messages() -> None:
    wanted = [claim("a", port=80), claim("b", replaces=["a"]), claim("c", epoch=-1), claim("-"), claim("d", cpu=-1)]
    wanted += [claim("e", partition="")]
    reader = ClaimReader()
    assert reader.read(BatchClaimRequest(claims=wanted).SerializeToString()) == wanted


def test_what_this_api_does_not_know_is_refused_wherever_it_is() -> None:
    known = claim("a", port=80)
    entry = b"\x0a\x03cpu\x10\x01"
    for unknown in (
        b"\x9a\x06\x01x",
        wire.frame(2, b"\x9a\x06\x01x"),
        wire.frame(2, wire.frame(7, entry + b"\x9a\x06\x01x")),
        wire.frame(2, wire.frame(8, b"\x9a\x06\x01x")),
    ):
        for message in (known, claim("b")):
            request = wire.frame(1, message.SerializeToString() + unknown)
            try:
                read = ClaimReader().read(request)
            except StatusError as failure:
                assert failure.reason, failure
            else:  # protobuf itself drops what it does not know of a map's entry
                assert b"\x9a\x06" not in b"".join(each.message().SerializeToString() for each in read)  # type: ignore[union-attr]


def test_broken_entries_of_a_map_are_refused() -> None:
    request = wire.frame(1, claim("a").SerializeToString() + wire.frame(2, wire.frame(7, b"\x0a\x7f")))
    try:
        ClaimReader().read(request)
    except StatusError as failure:
        assert "claims[0]" in str(failure.message)
    else:
        raise AssertionError("it was taken")


@given(AMOUNTS, st.integers(0, 1 << 20))
def test_totals_are_those_of_the_message(amounts: dict[str, int], pods: int) -> None:
    ledger = CapacityLedger()
    ledger.claimed.add(tenant_partition="tp-1", pods=pods).requests.update(amounts)
    assert claimwire.total("tp-1", {**amounts, "pods": pods}) == ledger.SerializeToString(deterministic=True)


def test_an_outcome_is_that_of_the_message() -> None:
    for epoch in (0, 1, 300):
        response = BatchClaimResponse()
        response.outcomes.add(pod_uid="p", state=ClaimOutcome.HELD, node_name="n", bind_epoch=epoch)
        assert claimwire.granted("p", ClaimOutcome.HELD, "n", epoch) == response.SerializeToString()


@given(st.lists(claims(), max_size=6))
def test_hold_is_what_claim_decides(wanted: list[CapacityClaim]) -> None:
    ledger = rules.node_changed(None, node("n", "u" * 36, cpu="200000000000", pods="4"))
    for message in wanted:
        spec = message.spec
        after = rules.hold(ledger, spec.node_uid, spec.tenant_partition, rules.requests_of(message))
        decided = rules.claim(ledger, message, lambda uid: None)
        if after is None:
            assert decided.state is rules.State.REFUSED
        else:
            assert after == decided.ledger and decided.state is rules.State.HELD
            ledger = after


@given(st.lists(claims(), max_size=6), st.booleans())
def test_a_stored_ledger_is_written_as_its_message(wanted: list[CapacityClaim], read_again: bool) -> None:
    empty = rules.node_changed(None, node("n", "u" * 36, cpu="200000000000", pods="4"))
    first = StoredLedger("n").write(empty, BEGIN, Lane.SYSTEM)
    assert first is not None and first.value is not None
    stored = StoredLedger.of("n", Record(first.key, first.value, 1))
    held: list[CapacityClaim] = []
    for revision, message in enumerate(wanted, 2):
        spec = message.spec
        after = rules.hold(stored.ledger, "", spec.tenant_partition, rules.requests_of(message))
        if after is None:
            if not held:
                continue
            assert stored.ledger is not None
            ended = held.pop()
            after = rules.release(stored.ledger, ended)
        else:
            held.append(message)
        stored = _moved(stored, after, revision, read_again)


def _moved(stored: StoredLedger, after: Ledger | None, revision: int, read_again: bool) -> StoredLedger:
    write = stored.write(after, BEGIN, Lane.SYSTEM)
    assert after is not None and write is not None and write.value is not None
    assert stored.value is not None
    expected = CapacityLedger.FromString(stored.value)
    after.write_to(expected)
    assert write.value == wire.canonical(expected)
    record = Record(write.key, write.value, revision)
    again = StoredLedger.of(stored.name, record)
    assert again.ledger == after
    return again if read_again else stored.written(after, record)
