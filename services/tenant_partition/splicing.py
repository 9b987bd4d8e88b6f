"""A bind as a splice of stored bytes: the spec gets the node's fields, the status its condition, the rest stays.

Stored bytes are canonical (fields in the order of their numbers), so that the splice gives exactly what parsing,
changing and encoding the pod would. Of each pod only the metadata is parsed: specs of pods that nobody has bound, and
statuses of pods that nobody has run, are the same in thousands of pods.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from services.api import wire
from services.api.pb.ursa.core.v1.pod_pb2 import Binding, PodSpec, PodStatus
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.placement.pods import TERMINAL_PHASES

SPEC_BYTES_MAX = 16 * 1024
STATUS_BYTES_MAX = 4 * 1024

_METADATA, _SPEC, _STATUS = 0x0A, 0x12, 0x1A
_CLAIMED = PodSpec(capacity_claimed=True).SerializeToString()
_NODE_NAME, _CAPACITY_CLAIMED = (
    PodSpec.DESCRIPTOR.fields_by_name[name].number for name in ("node_name", "capacity_claimed")
)
_WIDTHS = {1: 8, 5: 4}


class Gap(NamedTuple):
    """A spec without a node: the bytes before the node's name, those after it, and the epoch a bind must name."""

    before: bytes
    after: bytes
    epoch: int


def spliced(binding: Binding, value: bytes, now_s: int) -> tuple[bytes, str] | None:
    """The bound pod's canonical bytes and its UID. None: not an unbound pod that ``binding`` binds as a matter of
    course; whoever parses it knows why."""
    wanted = binding.metadata
    if wanted.resource_version or wanted.annotations:
        return None
    try:
        cuts = _cuts(value)
    except IndexError:
        return None
    if cuts is None:
        return None
    metadata_at, metadata_end, spec_at, spec_end, status_at = cuts
    if spec_end - spec_at > SPEC_BYTES_MAX or len(value) - status_at > STATUS_BYTES_MAX:
        return None
    metadata: Any = ObjectMeta.FromString(value[metadata_at:metadata_end])
    gap = _gap(value[spec_at:spec_end])
    status = bound_status(value[status_at:], now_s)
    if gap is None or status is None or gap.epoch != binding.bind_epoch:
        return None
    uid: str = metadata.uid
    if (wanted.uid and wanted.uid != uid) or metadata.HasField("deletion_timestamp"):
        return None
    node, partition = binding.target.name.encode(), binding.resource_partition.encode()
    if not node or not partition:
        return None
    spec = b"".join(
        (
            gap.before,
            b"\x62",  # node_name = 12
            wire.varint(len(node)),
            node,
            b"\x6a",  # resource_partition = 13
            wire.varint(len(partition)),
            partition,
            gap.after,
            _CLAIMED if binding.capacity_claimed else b"",
        )
    )
    return b"".join((value[:metadata_end], b"\x12", wire.varint(len(spec)), spec, status)), uid


def _cuts(value: bytes) -> tuple[int, int, int, int, int] | None:
    """Where metadata and spec begin and end, and where the status begins. Raises ``IndexError``."""
    if value[0] != _METADATA:
        return None
    size, metadata = wire.read_varint(value, 1)
    at = metadata + size
    if value[at] != _SPEC:
        return None
    size, spec = wire.read_varint(value, at + 1)
    end = spec + size
    if value[end] != _STATUS:
        return None
    size, status = wire.read_varint(value, end + 1)
    return (metadata, at, spec, end, status) if status + size == len(value) else None


@lru_cache(maxsize=1024)
def _gap(stored: bytes) -> Gap | None:
    spec = PodSpec.FromString(stored)
    if spec.node_name or spec.resource_partition or spec.capacity_claimed or spec.scheduling_gates:
        return None
    cut, last = len(stored), 0
    at = 0
    while at < len(stored):
        number, end = _field(stored, at)
        if number < last or number >= _CAPACITY_CLAIMED:
            return None
        if number > _NODE_NAME and at < cut:
            cut = at
        at, last = end, number
    return Gap(stored[:cut], stored[cut:], spec.bind_epoch)


def _field(value: bytes, at: int) -> tuple[int, int]:
    """The number of the field at ``at``, and where it ends."""
    tag, at = wire.read_varint(value, at)
    form = tag & 7
    if form == 2:
        size, at = wire.read_varint(value, at)
        return tag >> 3, at + size
    if form == 0:
        return tag >> 3, wire.read_varint(value, at)[1]
    return tag >> 3, at + _WIDTHS[form]


@lru_cache(maxsize=256)
def bound_status(stored: bytes, now_s: int) -> bytes | None:
    """The frame of the status once the pod is bound; None for a pod that has ended."""
    status = PodStatus.FromString(stored)
    if status.phase in TERMINAL_PHASES:
        return None
    mark_scheduled(status, now_s)
    return wire.frame(3, status.SerializeToString(deterministic=True))


def mark_scheduled(status: Any, now_s: int) -> None:
    """The condition PodScheduled turns true."""
    condition = next((found for found in status.conditions if found.type == "PodScheduled"), None)
    if condition is None:
        condition = status.conditions.add(type="PodScheduled")
    condition.status = "True"
    condition.reason = condition.message = ""
    condition.last_transition_time.seconds = now_s
    condition.last_transition_time.nanos = 0
