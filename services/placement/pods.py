"""What a pod asks of a node: requests, host ports, priority, and the class of pods that are placed alike.

Rules are Kubernetes' (``component-helpers/resource``, ``scheduler/util/pod_resources``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from services.api.pb.ursa.core.v1.pod_pb2 import Container, Pod
from services.placement.resources import CPU, MEMORY, add, amounts, raise_to

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
WILDCARD_IP = "0.0.0.0"
TERMINAL_PHASES = frozenset(("Succeeded", "Failed"))

HostPort = tuple[str, str, int]
"""(protocol, IP address, port)"""


def _own(container: Container) -> dict[str, int]:
    return amounts(container.resources.requests)


def _own_non_zero(container: Container) -> dict[str, int]:
    """An unset CPU or memory request counts as 100m or 200Mi; an explicit zero stays zero."""
    found = amounts(container.resources.requests)
    found.setdefault(CPU, DEFAULT_MILLI_CPU)
    found.setdefault(MEMORY, DEFAULT_MEMORY_BYTES)
    return found


def requests(pod: Pod) -> Mapping[str, int]:
    """What the pod takes of a node, in canonical int64 units (cpu thousandths, memory bytes).

    The containers' sum with the sidecars (init containers that restart always), or the largest moment of initialising
    if that is more, and the overhead (KEP-753, KEP-688). A resource that nobody asks for is absent.
    Raises ``QuantityError`` for a pod that was not validated.
    """
    return _total(pod, _own)


def non_zero_requests(pod: Pod) -> Mapping[str, int]:
    """``requests`` for scoring: a container without a CPU or memory request counts 100m, 200Mi."""
    return _total(pod, _own_non_zero)


def _total(pod: Pod, of: Callable[[Container], dict[str, int]]) -> dict[str, int]:
    spec = pod.spec
    containers = spec.containers
    total = of(containers[0]) if containers else {}
    for index in range(1, len(containers)):
        add(total, of(containers[index]))
    if spec.init_containers:
        _add_init_containers(total, spec.init_containers, of)
    if spec.overhead:
        add(total, amounts(spec.overhead))
    return total


def _add_init_containers(
    total: dict[str, int], containers: Iterable[Container], of: Callable[[Container], dict[str, int]]
) -> None:
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in containers:
        if is_sidecar(container):
            add(sidecars, of(container))
            raise_to(peak, sidecars)
        else:
            moment = of(container)
            add(moment, sidecars)
            raise_to(peak, moment)
    add(total, sidecars)
    raise_to(total, peak)


def is_sidecar(init_container: Container) -> bool:
    """An init container that keeps running beside the containers (KEP-753)."""
    return init_container.restart_policy == "Always"


def host_ports(pod: Pod) -> frozenset[HostPort]:
    """The host's ports that the pod takes; an unset address is every address (0.0.0.0)."""
    spec = pod.spec
    found: set[HostPort] = set()
    for container in spec.containers:
        _add_host_ports(found, container)
    for container in spec.init_containers:
        if is_sidecar(container):
            _add_host_ports(found, container)
    return frozenset(found)


def _add_host_ports(found: set[HostPort], container: Container) -> None:
    for port in container.ports:
        if port.host_port:
            found.add((port.protocol or "TCP", port.host_ip or WILDCARD_IP, port.host_port))


def ports_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Some wanted port is taken: same protocol and number, and the same address or either one every address."""
    by_number: dict[tuple[str, int], set[str]] = {}
    for protocol, ip, number in taken:
        by_number.setdefault((protocol, number), set()).add(ip)
    for protocol, ip, number in wanted:
        addresses = by_number.get((protocol, number))
        if addresses and (ip == WILDCARD_IP or ip in addresses or WILDCARD_IP in addresses):
            return True
    return False


def is_terminal(pod: Pod) -> bool:
    """All containers have ended for good: the pod takes nothing of its node any more."""
    return pod.status.phase in TERMINAL_PHASES


def priority(pod: Pod) -> int:
    """The resolved priority; 0 where admission set none."""
    return pod.spec.priority


def scheduling_class(pod: Pod) -> bytes:
    """20 bytes, equal for pods that every filter and every score treat alike, whatever their names.

    Covers tenant, namespace and labels (other pods' affinity and spreading select by them), the request sums, host
    ports, images, node selector, affinity, tolerations, spreading, claims, priority, and any node already named. About
    ten times the cost of ``requests``: cache it per pod.
    """
    metadata, spec = pod.metadata, pod.spec
    parts = (
        metadata.tenant,
        metadata.namespace,
        sorted(metadata.labels.items()),
        sorted(requests(pod).items()),
        sorted(non_zero_requests(pod).items()),
        sorted(host_ports(pod)),
        sorted({container.image for container in spec.containers}),
        sorted(spec.node_selector.items()),
        spec.affinity.SerializeToString(deterministic=True) if spec.HasField("affinity") else b"",
        [toleration.SerializeToString() for toleration in spec.tolerations],
        [constraint.SerializeToString(deterministic=True) for constraint in spec.topology_spread_constraints],
        [
            volume.persistent_volume_claim.claim_name
            for volume in spec.volumes
            if volume.persistent_volume_claim.claim_name
        ],
        (spec.scheduler_name, spec.node_name, spec.resource_partition, pod.status.nominated_node_name),
        pod.status.nominated_resource_partition,
        (spec.priority, spec.preemption_policy, spec.runtime_class_name, spec.os.name, spec.host_network),
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).digest()
