"""Rules of bindings: which pod, to which node of which resource partition."""

from __future__ import annotations

from services.api import names
from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.validation.violations import Violations, faults, one_of, required

REMEMBERED_MAX = 4096


def validate_binding(binding: Binding) -> Violations:
    """Same-named nodes of two resource partitions are two nodes, so the partition is required."""
    metadata, target = binding.metadata, binding.target
    place = metadata.tenant, metadata.namespace, target.kind, binding.resource_partition
    known = place in _valid_places
    if known and not names.dns_subdomain(metadata.name) and not names.dns_subdomain(target.name):
        return []
    found = _faults(binding)
    if not found and not known:
        if len(_valid_places) >= REMEMBERED_MAX:
            _valid_places.clear()
        _valid_places.add(place)
    return found


# A scheduler binds pods of few namespaces. Only what is valid is kept, which is short.
_valid_places: set[tuple[str, str, str, str]] = set()


def _faults(binding: Binding) -> Violations:
    metadata, target = binding.metadata, binding.target
    found: Violations = []
    for field, value in (("metadata.tenant", metadata.tenant), ("metadata.namespace", metadata.namespace)):
        found += faults(field, value, names.dns_label(value)) if value else [required(field)]
    for field, value in (("metadata.name", metadata.name), ("target.name", target.name)):
        found += faults(field, value, names.dns_subdomain(value)) if value else [required(field)]
    found += one_of("target.kind", target.kind, ("Node",), optional=True)
    partition = binding.resource_partition
    return found + (
        faults("resourcePartition", partition, names.dns_label(partition))
        if partition
        else [required("resourcePartition")]
    )
