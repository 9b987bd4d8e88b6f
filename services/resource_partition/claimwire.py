"""Claims in wire form: read without their maps, and written without a message.

Most claims differ from the one before in the pod, the node and nothing else, and a message with a map costs more than
all else that is done for such a claim. So a request is parsed into messages of the same wire form whose map entries
stay bytes, what pods of one template have in common is looked at once (``Template``), and a claim's record is joined
from its pieces. ``tests/unit/resource_partition/test_claim_wire.py`` compares each with the real messages.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityClaimSpec
from services.api.wire import varint
from services.placement.ledger import requests_of
from services.placement.resources import PODS, Amounts

_PACKAGE = "ursa.internal.capacity"
_Field = descriptor_pb2.FieldDescriptorProto
_TEMPLATES_MAX = 4096

Entries = tuple[bytes, ...]
"""The entries of a ``map<string, int64>`` as they arrived."""


def _view_pool() -> descriptor_pool.DescriptorPool:
    """The messages of ``capacity.proto`` with every map, and every field that few claims have, as bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="ursa/internal/capacity.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(meta_pb2.DESCRIPTOR.name)
    originals = (capacity_pb2.BatchClaimRequest, CapacityClaim, CapacityClaimSpec, capacity_pb2.CapacityLedger)
    known = {message.DESCRIPTOR.name for message in originals}
    for message in originals:
        view = file.message_type.add(name=message.DESCRIPTOR.name)
        for field in message.DESCRIPTOR.fields:
            told = view.field.add(name=field.name, number=field.number, type=field.type)
            told.label = _Field.LABEL_REPEATED if field.is_repeated else _Field.LABEL_OPTIONAL
            if field.message_type is None:
                continue
            if field.message_type.name in known:
                told.type_name = f".{_PACKAGE}.{field.message_type.name}"
            elif field.message_type.file.name == meta_pb2.DESCRIPTOR.name:
                told.type_name = f".{field.message_type.full_name}"
            else:
                told.type = _Field.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    for needed in _with_dependencies(meta_pb2.DESCRIPTOR):
        pool.AddSerializedFile(needed.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _with_dependencies(file: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for needed in file.dependencies:
        found.update({each.name: each for each in _with_dependencies(needed)})
    return [*found.values(), file]


_pool = _view_pool()


def _view(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


BatchClaimView: Any = _view("BatchClaimRequest")
LedgerView: Any = _view("CapacityLedger")


class Template:
    """What the claims of one template's pods have in common. ``amounts`` include "pods".

    ``before`` and ``after``: the fields of a claim's spec on both sides of the pod's name.
    """

    __slots__ = ("after", "amounts", "before", "partition", "spec")

    def __init__(self, spec: CapacityClaimSpec) -> None:
        self.spec = spec
        self.partition = spec.tenant_partition
        self.amounts: Amounts = requests_of(CapacityClaim(spec=spec))
        self.after = CapacityClaimSpec(requests=spec.requests).SerializeToString(deterministic=True)
        self.before = CapacityClaimSpec(
            tenant_partition=spec.tenant_partition, tenant=spec.tenant, namespace=spec.namespace
        ).SerializeToString()


class PlainClaim:
    """A claim without ports and victims, of a sound ``template``."""

    __slots__ = ("bind_epoch", "node_name", "node_uid", "pod_name", "pod_uid", "template")

    def __init__(self, pod_uid: str, spec: Any, template: Template) -> None:
        self.pod_uid = pod_uid
        self.node_name: str = spec.node_name
        self.node_uid: str = spec.node_uid
        self.pod_name: str = spec.pod_name
        self.bind_epoch: int = spec.bind_epoch
        self.template = template

    def message(self) -> CapacityClaim:
        """The same as a message."""
        claim = CapacityClaim()
        claim.metadata.name = self.pod_uid
        spec = claim.spec
        spec.CopyFrom(self.template.spec)
        spec.node_name = self.node_name
        spec.node_uid = self.node_uid
        spec.pod_name = self.pod_name
        spec.bind_epoch = self.bind_epoch
        return claim

    def record(self, metadata: bytes) -> bytes:
        """``wire.canonical`` of the claim with ``metadata`` (canonical)."""
        node = self.node_name.encode()
        uid = self.node_uid.encode()
        pod = self.pod_name.encode()
        template = self.template
        parts = [b"\x0a", varint(len(node)), node]
        if uid:
            parts += (b"\x12", varint(len(uid)), uid)
        parts += (template.before, b"\x32", varint(len(pod)), pod, template.after)
        if self.bind_epoch:
            parts += (b"\x48", varint(self.bind_epoch))
        spec = b"".join(parts)
        return b"".join((b"\x0a", varint(len(metadata)), metadata, b"\x12", varint(len(spec)), spec))


class Templates:
    """Those that were seen lately; only of claims in which nothing is wrong."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Template] = {}

    def of(self, spec: Any) -> Template | None:
        """That of a claim's spec (a view); None: it has not been seen."""
        return self._found.get((spec.tenant_partition, spec.tenant, spec.namespace, *spec.requests))

    def learn(self, view: Any, spec: CapacityClaimSpec) -> Template:
        """``spec``: the same claim's as ``view``, found to be sound."""
        if len(self._found) >= _TEMPLATES_MAX:
            self._found.clear()
        common = CapacityClaimSpec(
            tenant_partition=spec.tenant_partition,
            tenant=spec.tenant,
            namespace=spec.namespace,
            requests=spec.requests,
        )
        found = Template(common)
        self._found[view.tenant_partition, view.tenant, view.namespace, *view.requests] = found
        return found


def total(partition: str, amounts: Amounts) -> bytes:
    """A ``CapacityTotal`` in a ledger, framed. ``amounts`` include "pods"; none is negative."""
    name = partition.encode()
    parts = [b"\x0a", varint(len(name)), name]
    for resource, number in sorted(amounts.items()):
        if resource != PODS:
            key = _map_key(resource)
            amount = varint(number)
            parts += (b"\x12", varint(len(key) + len(amount)), key, amount)
    pods = amounts.get(PODS, 0)
    if pods:
        parts += (b"\x18", varint(pods))
    body = b"".join(parts)
    return b"".join((b"\x22", varint(len(body)), body))


@functools.lru_cache(maxsize=1024)
def _map_key(resource: str) -> bytes:
    """The key of an entry, and the tag of its value."""
    key = resource.encode()
    return b"".join((b"\x0a", varint(len(key)), key, b"\x10"))


def granted(pod_uid: str, state: int, node_name: str, bind_epoch: int) -> bytes:
    """A ``ClaimOutcome`` without a status, framed as in ``BatchClaimResponse``."""
    pod, node = pod_uid.encode(), node_name.encode()
    parts = [b"\x0a", varint(len(pod)), pod, b"\x10", varint(state), b"\x22", varint(len(node)), node]
    if bind_epoch:
        parts += (b"\x28", varint(bind_epoch))
    body = b"".join(parts)
    return b"".join((b"\x0a", varint(len(body)), body))
