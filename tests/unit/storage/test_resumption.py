"""A resumed watch goes on with the same history, or says that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.backing import FeedBatch, FeedEntry
from services.storage.errors import HistoryReplaced
from services.storage.etcd.resumption import Resumption

A5 = FeedEntry("a", b"5", 5)
B7, C7 = FeedEntry("b", b"7", 7), FeedEntry("c", None, 7)
D9 = FeedEntry("d", b"9", 9)


def test_without_anything_seen_the_watch_begins_after_the_position() -> None:
    resumed = Resumption(8, ())
    assert resumed.start == 9
    assert resumed.fresh(FeedBatch(9, [D9])) == FeedBatch(9, [D9])


def test_what_was_seen_comes_again_and_is_not_handed_on_twice() -> None:
    resumed = Resumption(8, [A5, B7, C7])
    assert resumed.start == 7
    assert resumed.fresh(FeedBatch(9, [C7, B7, D9])) == FeedBatch(9, [D9])
    assert resumed.fresh(FeedBatch(12, ())) == FeedBatch(12, ())


def test_what_was_seen_may_come_alone() -> None:
    resumed = Resumption(8, [B7])
    assert resumed.fresh(FeedBatch(7, [B7])) is None
    assert resumed.fresh(FeedBatch(9, [D9])) == FeedBatch(9, [D9])


@pytest.mark.parametrize(
    "again",
    [
        pytest.param([D9], id="missing"),
        pytest.param([], id="progress without it"),
        pytest.param([FeedEntry("b", b"other", 7), C7], id="another value"),
        pytest.param([FeedEntry("b", None, 7), C7], id="deleted instead"),
        pytest.param([B7], id="only a part"),
        pytest.param([B7, C7, FeedEntry("e", b"", 8)], id="something new before the position"),
    ],
)
def test_another_history_is_found_out(again: list[FeedEntry]) -> None:
    with pytest.raises(HistoryReplaced):
        Resumption(8, [A5, B7, C7]).fresh(FeedBatch(9, again))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from("abc")), unique=True, max_size=20),
    st.integers(1, 30),
    st.integers(0, 30),
)
def test_no_cut_loses_or_repeats_anything(facts: list[tuple[int, str]], cut: int, quiet: int) -> None:
    history = [FeedEntry(key, b"", revision) for revision, key in sorted(facts)]
    before = [entry for entry in history if entry.revision <= cut]
    after = [entry for entry in history if entry.revision > cut]
    # Progress may have carried the position on, as far as nothing new happened.
    position = min(cut + quiet, after[0].revision - 1) if after else cut + quiet
    resumed = Resumption(position, before)
    again = [entry for entry in history if entry.revision >= resumed.start]
    batch = resumed.fresh(FeedBatch(max(position, 31), again))
    assert (batch.entries if batch is not None else []) == after
