"""Fragments of etcd's watch responses: whatever way they are cut, revisions stay whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.storage.backing import FeedEntry
from services.storage.etcd.assembly import Assembler


def _entries(*revisions: int) -> list[FeedEntry]:
    return [FeedEntry(f"k{index}", b"", revision) for index, revision in enumerate(revisions)]


def test_the_newest_revision_is_held_back_until_the_last_fragment() -> None:
    assembler = Assembler(1)
    assert assembler.add(_entries(2, 2), more_follows=True) is None
    first = assembler.add(_entries(2, 3), more_follows=True)
    assert first is not None
    assert ([entry.revision for entry in first.entries], first.revision) == ([2, 2, 2], 2)
    last = assembler.add(_entries(3), more_follows=False)
    assert last is not None
    assert ([entry.revision for entry in last.entries], last.revision) == ([3, 3], 3)


def test_progress_never_passes_what_is_held_back() -> None:
    assembler = Assembler(1)
    assembler.add(_entries(5), more_follows=True)
    assert assembler.progress(9) is None
    assert assembler.position == 1
    assembler.add([], more_follows=False)
    batch = assembler.progress(9)
    assert batch is not None
    assert (batch.revision, list(batch.entries)) == (9, [])
    assert assembler.progress(7) is None


@given(st.lists(st.integers(2, 6), min_size=1, max_size=30), st.lists(st.integers(1, 5), min_size=30, max_size=30))
def test_any_cut_gives_every_entry_once_in_whole_revisions(numbers: list[int], cuts: list[int]) -> None:
    entries = _entries(*sorted(numbers))
    assembler = Assembler(1)
    found: list[FeedEntry] = []
    rest = list(entries)
    for cut in cuts:
        part, rest = rest[:cut], rest[cut:]
        if not part:
            break
        batch = assembler.add(part, more_follows=bool(rest))
        if batch is not None:
            assert not found or batch.entries[0].revision > found[-1].revision
            assert batch.revision == batch.entries[-1].revision
            found += batch.entries
    assert found == entries
