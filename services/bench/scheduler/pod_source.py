"""Create requests of a template's pods. Without values in it they are all alike: encoded once, sent many times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.api import defaults, wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.bench.scheduler import priorities
from services.bench.scheduler.base_objects import base_pod
from services.bench.scheduler.binds import Shape
from services.bench.scheduler.templates import Template
from services.placement import pods as placement

_OBJECT_FIELD = 1  # of CreatePodRequest and BatchPodsRequest alike


class PodSource:
    """``count`` pods of ``template`` (None: upstream's base pod) in a namespace. ``values`` are the template's.

    Everything is read and encoded here, so that none of it is paid for while pods are measured. ``priorities``: the
    numbers that need a class.
    """

    def __init__(
        self,
        template: Template | None,
        tenants: Iterable[str],
        namespace: str,
        count: int,
        values: Mapping[str, Any],
    ) -> None:
        self.priorities: set[int] = set()
        varies = template is not None and template.varies
        self._pods: list[tuple[dict[str, bytes], Shape]] = []
        for index in range(count if varies else 1):
            pod = _pod(template, {**values, "Index": index, "Count": count})
            priority = priorities.classify(pod)
            if priority is not None:
                self.priorities.add(priority)
            self._pods.append((_framed(pod, tenants, namespace), shape_of(pod)))

    def framed(self, tenant: str, index: int) -> tuple[bytes, Shape]:
        """The pod as the ``object`` field of a request: a CreatePodRequest as it is, joined a BatchPodsRequest."""
        by_tenant, shape = self._pods[index % len(self._pods)]
        return by_tenant[tenant], shape


def _pod(template: Template | None, values: Mapping[str, Any]) -> Pod:
    if template is None:
        return base_pod()
    pod = Pod()
    pod.CopyFrom(template.message(PODS, values))
    return pod


def _framed(pod: Pod, tenants: Iterable[str], namespace: str) -> dict[str, bytes]:
    found = {}
    for tenant in tenants:
        pod.metadata.tenant, pod.metadata.namespace = tenant, namespace
        found[tenant] = wire.frame(_OBJECT_FIELD, pod.SerializeToString())
    return found


def shape_of(pod: Pod) -> Shape:
    """Labels and requests, the latter as the server completes them."""
    complete = Pod()
    complete.CopyFrom(pod)
    defaults.apply(PODS, complete)
    return Shape(dict(pod.metadata.labels), {**placement.requests(complete), "pods": 1})
