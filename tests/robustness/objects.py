"""The objects of the workload: pods and leases that carry the id of the write that made them what they are."""

from __future__ import annotations

import hashlib
from typing import Any

from services.api import wire
from services.api.kinds import LEASES, PODS, Kind
from services.api.pb.ursa.coordination.v1 import lease_pb2
from services.api.pb.ursa.core.v1 import pod_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from tests.robustness.history import Truth

STAMP = "robustness.ursa.io/stamp"
BALLAST = "robustness.ursa.io/ballast"
KINDS: dict[str, Kind] = {"pods": PODS, "leases": LEASES}


def digest(message: Any) -> str:
    """A hash of the canonical bytes: equal for what is stored and what is served of one revision."""
    return hashlib.blake2b(wire.canonical(message), digest_size=8).hexdigest()


def key_of(kind: str, metadata: Any) -> str:
    return f"/ursa/{kind}/{metadata.tenant}/{metadata.namespace}/{metadata.name}"


def describe(key: str, value: bytes, revision: int, at: float) -> Truth:
    """A stored value as a record of the truth. The fields are read here, not by the code under test."""
    kind = key.split("/")[2]
    message: Any = KINDS[kind].message.FromString(value)
    metadata = message.metadata
    fields = {"metadata.name": metadata.name, "metadata.namespace": metadata.namespace}
    status_stamp = ""
    if kind == "pods":
        fields["spec.nodeName"] = message.spec.node_name
        fields["status.phase"] = message.status.phase
        status_stamp = message.status.message
    ending = ""
    if metadata.HasField("deletion_timestamp"):
        ending = f"{metadata.deletion_timestamp.seconds}/{metadata.deletion_grace_period_seconds}"
    return Truth(
        at=at,
        revision=revision,
        key=key,
        hash=hashlib.blake2b(value, digest_size=8).hexdigest(),
        uid=metadata.uid,
        labels=dict(metadata.labels),
        fields=fields,
        stamp=metadata.annotations.get(STAMP, ""),
        status_stamp=status_stamp,
        ending=ending,
    )


def make(
    kind: str, tenant: str, namespace: str, name: str, labels: dict[str, str], stamp: str, ballast_bytes: int = 0
) -> Any:
    """A new object, valid, with ``stamp``. ``ballast_bytes`` make it as large: messages hold a few of those only."""
    metadata = meta_pb2.ObjectMeta(tenant=tenant, namespace=namespace, name=name, labels=labels)
    metadata.annotations[STAMP] = stamp
    if ballast_bytes:
        metadata.annotations[BALLAST] = "x" * ballast_bytes
    if kind == "leases":
        spec = lease_pb2.LeaseSpec(holder_identity=stamp, lease_duration_seconds=40)
        return lease_pb2.Lease(metadata=metadata, spec=spec)
    container = pod_pb2.Container(name="main", image="registry.example/app:1")
    return pod_pb2.Pod(metadata=metadata, spec=pod_pb2.PodSpec(containers=[container]))
