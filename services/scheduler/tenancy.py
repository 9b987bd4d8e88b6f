"""What else of the tenant partition scheduling looks at, as little of it as is needed."""

from __future__ import annotations

from dataclasses import dataclass

from services.api.pb.ursa.core.v1.namespace_pb2 import Namespace
from services.client.informer import Accessors


@dataclass(slots=True, eq=False)
class SeenNamespace:
    """Its labels decide what namespace selectors of pod affinity mean."""

    tenant: str
    name: str
    uid: str
    resource_version: int
    labels: dict[str, str]


NAMESPACE_ACCESSORS: Accessors[SeenNamespace] = Accessors(
    key=lambda seen: f"{seen.tenant}/{seen.name}", uid=lambda seen: seen.uid, version=lambda seen: seen.resource_version
)


def read_namespace(data: bytes) -> SeenNamespace:
    """Raises ``google.protobuf.message.DecodeError``."""
    metadata = Namespace.FromString(data).metadata
    return SeenNamespace(metadata.tenant, metadata.name, metadata.uid, metadata.resource_version, dict(metadata.labels))
