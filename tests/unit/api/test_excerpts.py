"""A few fields of a message, also of those in a list, as the whole message has them."""

from __future__ import annotations

from services.api.excerpts import excerpt
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodWatchBatch


def test_fields_of_repeated_messages_and_enums() -> None:
    batch = PodWatchBatch(resource_version=7)
    for number, uid in enumerate(("a", "b"), 1):
        event = batch.events.add(type=number)  # type: ignore[arg-type]
        event.object.metadata.uid, event.object.metadata.name = uid, f"pod-{uid}"
        event.object.spec.node_name = f"node-{uid}"
    paths = ("resource_version", "events.type", "events.object.metadata.uid", "events.object.spec.node_name")
    found = excerpt(PodWatchBatch, paths).FromString(batch.SerializeToString())
    assert found.resource_version == 7
    seen = [(event.type, event.object.metadata.uid, event.object.spec.node_name) for event in found.events]
    assert seen == [(1, "a", "node-a"), (2, "b", "node-b")]
