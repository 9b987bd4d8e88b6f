"""The window: what it keeps, how it grows and shrinks, what it no longer serves."""

from __future__ import annotations

from services.storage.items import Change, Item
from services.storage.testing.world import attributes_of, pod
from services.storage.watchcache.ring import Ring, WindowBounds


def _change(ring: Ring, revision: int, at_s: float, key: str = "/ursa/pods/a/n/x") -> Change:
    return Change(ring.end, revision, None, Item(key, pod("x"), revision, attributes_of), at_s)


def _ring(low: int = 4, high: int = 16, span_s: float = 75.0) -> Ring:
    return Ring(WindowBounds(low, high, span_s), lambda change: (change.key,))


def test_a_busy_window_doubles_up_to_its_bound() -> None:
    ring = _ring()
    capacities = []
    for revision in range(40):
        ring.append(_change(ring, revision, at_s=revision * 0.1))
        capacities.append(ring.capacity)
    assert sorted(set(capacities)) == [4, 8, 16]
    assert len(ring) == 16
    assert ring.floor == 23  # the newest revision that fell out


def test_a_quiet_window_halves_down_to_its_bound() -> None:
    ring = _ring()
    for revision in range(20):
        ring.append(_change(ring, revision, at_s=0.0))
    assert ring.capacity == 16
    for revision in range(20, 60):
        ring.append(_change(ring, revision, at_s=revision * 100.0))
    assert ring.capacity == 4
    assert len(ring) == 4


def test_the_newest_revision_stays_whole_whatever_its_size() -> None:
    ring = _ring(low=4, high=4)
    ring.append(_change(ring, 1, 0.0))
    for number in range(50):
        ring.append(_change(ring, 2, 0.0, key=f"/ursa/pods/a/n/{number}"))
    assert len(ring) == 50
    assert ring.floor == 1


def test_feeds_hold_what_the_window_holds_and_no_more() -> None:
    ring = _ring(low=4, high=4, span_s=0.0)
    for revision in range(1, 11):
        ring.append(_change(ring, revision, float(revision), key=f"/k/{revision % 2}"))
    assert [change.revision for change in ring.feed("")] == [7, 8, 9, 10]
    assert [change.revision for change in ring.feed("/k/0")] == [8, 10]
    assert [change.revision for change in ring.feed("/k/1")] == [7, 9]
    ring.append(_change(ring, 11, 11.0, key="/k/0"))
    ring.append(_change(ring, 12, 12.0, key="/k/0"))
    ring.append(_change(ring, 13, 13.0, key="/k/0"))
    assert len(ring.feed("/k/1")) == 0


def test_positions_are_found_by_revision_and_survive_eviction() -> None:
    ring = _ring(low=4, high=4, span_s=0.0)
    for revision in (2, 4, 4, 6, 8, 10):
        ring.append(_change(ring, revision, float(revision), key=f"/k/{ring.end}"))
    assert ring.floor == 4
    assert ring.sequence_after(4) == 3
    assert [change.revision for change in ring.feed("").between(ring.sequence_after(6), ring.end)] == [8, 10]
    assert ring.sequence_after(10) == ring.end


def test_compaction_forgets_and_raises_the_floor() -> None:
    ring = _ring()
    for revision in (2, 4, 6):
        ring.append(_change(ring, revision, 0.0))
    ring.compact(5)
    assert (ring.floor, len(ring)) == (5, 1)
    assert len(ring.feed("/ursa/pods/a/n/x")) == 1
