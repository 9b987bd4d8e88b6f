"""What items know of themselves, and what that costs when there are many."""

from __future__ import annotations

from services.storage import items
from services.storage.interface import EventType
from services.storage.items import Item, StoredEvent
from services.storage.testing.world import attributes_of, pod, selection


def _item(number: int, **content: object) -> Item:
    return Item(f"/ursa/pods/a/n/p{number}", pod(f"p{number}", **content), number + 1, attributes_of)  # type: ignore[arg-type]


def test_items_with_equal_labels_share_them() -> None:
    first, second = (_item(number, labels={"app": "web", "tier": "x"}) for number in range(2))
    assert first.labels == {"app": "web", "tier": "x"}
    assert first.labels is second.labels
    assert _item(3, labels={"app": "db"}).labels == {"app": "db"}


def test_selectors_see_labels_and_fields_however_often_they_ask() -> None:
    found = [_item(number, labels={"app": "web"}, node=f"n{number % 2}") for number in range(10)]
    chosen = selection("app=web", "spec.nodeName=n1")
    for _ in range(2):
        assert [item.revision for item in found if chosen.matches(item.attributes)] == [2, 4, 6, 8, 10]
    assert [item.indexed("spec.nodeName") for item in found[:2]] == ["n0", "n1"]


def test_decoded_fields_and_encoded_events_are_kept_for_few() -> None:
    many = [_item(number, node="n") for number in range(items._FIELDS_KEPT + 50)]
    for item in many:
        assert item.fields["spec.nodeName"] == "n"
        assert item.indexed("spec.nodeName") == "n"
    assert sum(item._fields is not None for item in many) <= items._FIELDS_KEPT
    assert many[0].fields["metadata.name"] == "p0"  # decoded again
    events = [StoredEvent(EventType.ADDED, item) for item in many]
    frames = [event.wire for event in events]
    assert [event.wire for event in events] == frames
    assert len(items._encoded) <= items._WIRES_KEPT


def test_encoded_events_are_kept_for_a_bound_of_bytes() -> None:
    large = [StoredEvent(EventType.ADDED, _item(n, note="x" * (1 << 20))) for n in range(80)]
    for event in large:
        assert len(event.wire) > 1 << 20
    assert items._encoded.size_bytes <= items._WIRE_BYTES_KEPT
    assert sum(len(event._wire) for event in large) == items._encoded.size_bytes
    assert len(large[0].wire) > 1 << 20, "encoded again"
