"""A pod's defaults (Kubernetes ``pkg/apis/core/v1/defaults.go``, and the tolerations that admission adds)."""

from __future__ import annotations

from fractions import Fraction

from services.api import quantities
from services.api.amounts import normalise
from services.api.pb.ursa.core.v1.pod_pb2 import (
    Container,
    LifecycleHandler,
    Pod,
    PodSpec,
    Probe,
    Volume,
)

EVICTION_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
EVICTION_TOLERATION_S = 300
DEFAULT_SCHEDULER = "default-scheduler"
_FILE_MODE = 0o644
_COMPUTE = ("cpu", "memory")


def apply(pod: Pod) -> None:
    spec = pod.spec
    apply_template(spec)
    _eviction_tolerations(spec)
    status = pod.status
    if not status.phase:
        status.phase = "Pending"
    if not status.qos_class:
        status.qos_class = qos_class(pod)


def apply_template(spec: PodSpec) -> None:
    """The defaults of a pod's spec without what admission adds to a pod: those of a workload's pod template."""
    _spec(spec)
    for container in spec.init_containers:
        _container(container, spec.host_network)
    for container in spec.containers:
        _container(container, spec.host_network)
    for volume in spec.volumes:
        _volume(volume)
    if spec.overhead:
        normalise(spec.overhead)


def _spec(spec: PodSpec) -> None:
    if not spec.restart_policy:
        spec.restart_policy = "Always"
    if not spec.dns_policy:
        spec.dns_policy = "ClusterFirst"
    if not spec.scheduler_name:
        spec.scheduler_name = DEFAULT_SCHEDULER
    if not spec.HasField("termination_grace_period_seconds"):
        spec.termination_grace_period_seconds = 30
    if not spec.HasField("enable_service_links"):
        spec.enable_service_links = True
    if spec.service_account and not spec.service_account_name:
        spec.service_account_name = spec.service_account


def _eviction_tolerations(spec: PodSpec) -> None:
    """300 s on a node that is not ready or unreachable, unless the pod says otherwise (admission)."""
    tolerated = {toleration.key for toleration in spec.tolerations if toleration.effect in ("", "NoExecute")}
    if "" in tolerated:
        return
    for key in EVICTION_TAINTS:
        if key not in tolerated:
            spec.tolerations.add(
                key=key, operator="Exists", effect="NoExecute", toleration_seconds=EVICTION_TOLERATION_S
            )


def _container(container: Container, host_network: bool) -> None:
    if not container.image_pull_policy:
        container.image_pull_policy = "Always" if _is_latest(container.image) else "IfNotPresent"
    if not container.termination_message_path:
        container.termination_message_path = "/dev/termination-log"
    if not container.termination_message_policy:
        container.termination_message_policy = "File"
    for port in container.ports:
        if not port.protocol:
            port.protocol = "TCP"
        if host_network and not port.host_port:
            port.host_port = port.container_port
    if container.HasField("resources"):
        _resources(container)
    for variable in container.env:
        if variable.HasField("value_from"):
            source = variable.value_from
            if source.HasField("field_ref") and not source.field_ref.api_version:
                source.field_ref.api_version = "v1"
            if source.HasField("resource_field_ref") and not source.resource_field_ref.divisor:
                source.resource_field_ref.divisor = "0"
    _handlers(container)


def _is_latest(image: str) -> bool:
    """No tag and no digest, or the tag ``latest``. A colon before the last slash belongs to the registry's port."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return tag == "latest" if colon else not digest


def _resources(container: Container) -> None:
    """An unset request is the limit."""
    resources = container.resources
    normalise(resources.limits)
    normalise(resources.requests)
    for resource, limit in resources.limits.items():
        if resource not in resources.requests:
            resources.requests[resource] = limit


def _handlers(container: Container) -> None:
    if container.HasField("liveness_probe"):
        _probe(container.liveness_probe)
    if container.HasField("readiness_probe"):
        _probe(container.readiness_probe)
    if container.HasField("startup_probe"):
        _probe(container.startup_probe)
    if container.HasField("lifecycle"):
        if container.lifecycle.HasField("post_start"):
            _http_get(container.lifecycle.post_start)
        if container.lifecycle.HasField("pre_stop"):
            _http_get(container.lifecycle.pre_stop)


def _probe(probe: Probe) -> None:
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.success_threshold = probe.success_threshold or 1
    probe.failure_threshold = probe.failure_threshold or 3
    _http_get(probe)


def _http_get(handler: Probe | LifecycleHandler) -> None:
    if handler.HasField("http_get"):
        handler.http_get.path = handler.http_get.path or "/"
        handler.http_get.scheme = handler.http_get.scheme or "HTTP"


def _volume(volume: Volume) -> None:
    """A volume without a source is an empty directory; files are readable by all and writable by their owner."""
    sources = [field.name for field, _ in volume.ListFields() if field.name != "name"]
    if not sources:
        volume.empty_dir.SetInParent()
    for name in ("config_map", "secret", "downward_api", "projected"):
        if name in sources and not getattr(volume, name).HasField("default_mode"):
            getattr(volume, name).default_mode = _FILE_MODE
    for source in volume.projected.sources:
        if source.HasField("service_account_token") and not source.service_account_token.HasField("expiration_seconds"):
            source.service_account_token.expiration_seconds = 3600


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort, from the CPU and memory of all containers (``ComputePodQOS``)."""
    asked, guaranteed = False, True
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        resources = container.resources
        for resource in _COMPUTE:
            limit = _value(resources.limits.get(resource))
            request = _value(resources.requests.get(resource, resources.limits.get(resource)))
            asked = asked or limit > 0 or request > 0
            guaranteed = guaranteed and limit > 0 and request == limit
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _value(quantity: str | None) -> Fraction | int:
    try:
        return quantities.parse(quantity) if quantity is not None else 0
    except quantities.QuantityError:
        return 0
