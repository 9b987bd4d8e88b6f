"""The objects of the load: long-running replicas, as a ReplicaSet or one by one, and short batch pods. Pure."""

from __future__ import annotations

from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodSpec
from services.bench.chaos.reading import WORKLOAD_LABEL

NAMESPACE = "default"
RUN_SECONDS_ANNOTATION = "ursa.io/hollow-run-seconds"
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def replica(tenant: str, workload: str, name: str, toleration_s: float) -> Pod:
    """One pod of a workload that the player keeps."""
    pod = _pod(tenant, name)
    pod.metadata.labels[WORKLOAD_LABEL] = workload
    fill(pod.spec, toleration_s)
    return pod


def batch_job(tenant: str, name: str, run_s: float, toleration_s: float) -> Pod:
    """A pod that succeeds after ``run_s``."""
    pod = _pod(tenant, name)
    pod.metadata.annotations[RUN_SECONDS_ANNOTATION] = f"{run_s:.1f}"
    fill(pod.spec, toleration_s)
    pod.spec.restart_policy = "Never"
    return pod


def replica_set(tenant: str, workload: str, replicas: int, toleration_s: float) -> ReplicaSet:
    """The same replicas, made by the cluster's own controller."""
    made = ReplicaSet()
    made.metadata.tenant, made.metadata.namespace, made.metadata.name = tenant, NAMESPACE, workload
    made.spec.replicas = replicas
    made.spec.selector.match_labels[WORKLOAD_LABEL] = workload
    made.spec.template.metadata.labels[WORKLOAD_LABEL] = workload
    fill(made.spec.template.spec, toleration_s)
    return made


def marker(tenant: str, name: str) -> Pod:
    """A pod that no node takes: watches tell of it, and nothing else happens."""
    pod = _pod(tenant, name)
    pod.spec.containers.add(name="marker", image="registry.k8s.io/pause:3.10")
    pod.spec.node_selector["ursa.io/chaos"] = "nowhere"
    return pod


def fill(spec: PodSpec, toleration_s: float) -> None:
    """A small container, and how long the pod bears a node that is away."""
    container = spec.containers.add(name="pause", image="registry.k8s.io/pause:3.10")
    container.resources.requests["cpu"], container.resources.requests["memory"] = "100m", "64Mi"
    for key in _TAINTS:
        toleration = spec.tolerations.add(key=key, operator="Exists", effect="NoExecute")
        toleration.toleration_seconds = round(toleration_s)


def _pod(tenant: str, name: str) -> Pod:
    pod = Pod()
    pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name = tenant, NAMESPACE, name
    return pod
