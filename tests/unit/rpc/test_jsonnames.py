from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool

import services.api.kinds  # noqa: F401  (its messages are in the default pool once it is imported)
from services.rpc import jsonnames


def _fields(pool: descriptor_pool.DescriptorPool, message: str) -> dict[str, str]:
    """What a client reads from the serialized descriptor: JSON names by field."""
    definition = descriptor_pb2.DescriptorProto()
    pool.FindMessageTypeByName(message).CopyToProto(definition)
    return {field.name: field.json_name for field in definition.field}


def test_every_field_states_the_json_name_that_the_messages_use() -> None:
    pool = jsonnames.pool_of(["ursa.core.v1.Pods", "ursa.watch.v1.WatchService"])
    known = descriptor_pool.Default()
    for message in (
        "ursa.meta.v1.ObjectMeta",
        "ursa.meta.v1.ListMeta",
        "ursa.core.v1.PodStatus",
        "ursa.core.v1.PodSpec",
    ):
        own = {field.name: field.json_name for field in known.FindMessageTypeByName(message).fields}
        assert _fields(pool, message) == own
    assert _fields(pool, "ursa.core.v1.PodStatus")["pod_ip"] == "podIP"
    assert _fields(pool, "ursa.meta.v1.ObjectMeta")["resource_version"] == "resourceVersion"


def test_a_service_without_a_definition_is_left_out() -> None:
    pool = jsonnames.pool_of(["no.such.Service", "ursa.core.v1.Nodes"])
    assert pool.FindServiceByName("ursa.core.v1.Nodes").full_name == "ursa.core.v1.Nodes"
