"""Transactions in wire form are what etcd's own messages say."""

from __future__ import annotations

from aetcd import rpc
from hypothesis import given
from hypothesis import strategies as st

from services.storage.etcd import frames

keys = st.binary(min_size=1, max_size=300)
values = st.one_of(st.binary(max_size=300), st.just(b"x" * 20_000))
revisions = st.integers(0, 2**63 - 1)


@given(keys, revisions, values, st.integers(0, 2**63 - 1))
def test_a_conditional_put_is_its_parts_in_one(key: bytes, revision: int, value: bytes, lease_id: int) -> None:
    then = frames.success(frames.put(key, value, lease_id))
    parts = (frames.compare_revision(key, revision), then, frames.failure(frames.read(key)))
    assert frames.conditional_put(key, revision, value, lease_id) == frames.success(frames.nested(b"".join(parts)))


@given(keys, revisions, values, st.integers(0, 2**63 - 1))
def test_etcd_reads_what_was_meant(key: bytes, revision: int, value: bytes, lease_id: int) -> None:
    outer = rpc.TxnRequest.FromString(
        frames.transaction(
            frames.compare_revision(b"session", 7),
            (
                frames.success(frames.put(b"session", b"batch 1")),
                frames.conditional_put(key, revision, value, lease_id),
                frames.conditional_delete(key, revision),
            ),
        )
    )
    condition = rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=key, mod_revision=revision)
    otherwise = [rpc.RequestOp(request_range=rpc.RangeRequest(key=key))]
    put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease_id))
    delete = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
    assert outer == rpc.TxnRequest(
        compare=[rpc.Compare(target=rpc.Compare.MOD, key=b"session", mod_revision=7)],
        success=[
            rpc.RequestOp(request_put=rpc.PutRequest(key=b"session", value=b"batch 1")),
            rpc.RequestOp(request_txn=rpc.TxnRequest(compare=[condition], success=[put], failure=otherwise)),
            rpc.RequestOp(
                request_txn=rpc.TxnRequest(compare=[condition], success=[delete] if revision else [], failure=otherwise)
            ),
        ],
    )


@given(st.lists(st.tuples(keys, revisions, st.none() | values, st.integers(0, 2**63 - 1)), max_size=5))
def test_a_transaction_of_several_compares_and_writes_them_all_or_does_nothing(
    writes: list[tuple[bytes, int, bytes | None, int]],
) -> None:
    (operation,) = rpc.TxnRequest.FromString(frames.conditional_all(writes)).success
    assert operation.request_txn == rpc.TxnRequest(
        compare=[
            rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=key, mod_revision=revision)
            for key, revision, _, _ in writes
        ],
        success=[
            rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease_id))
            if value is not None
            else rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
            for key, _, value, lease_id in writes
        ],
    )
