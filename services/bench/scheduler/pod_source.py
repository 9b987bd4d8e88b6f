"""Create requests of a template's pods. Without values in it they are all alike: encoded once, sent many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import defaults, wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.bench.scheduler.base_objects import base_pod
from services.bench.scheduler.binds import Shape
from services.bench.scheduler.templates import Template
from services.placement import pods as placement

_OBJECT_FIELD = 1  # of CreatePodRequest and BatchPodsRequest alike


class PodSource:
    """``count`` pods of ``template`` (None: upstream's base pod) in a namespace. ``values`` are the template's."""

    def __init__(self, template: Template | None, namespace: str, count: int, values: Mapping[str, Any]) -> None:
        self._template = template
        self._namespace = namespace
        self._count = count
        self._values = values
        self._varies = template is not None and template.varies
        self._alike: dict[str, tuple[bytes, Shape]] = {}

    def framed(self, tenant: str, index: int) -> tuple[bytes, Shape]:
        """The pod as the ``object`` field of a request: a CreatePodRequest as it is, joined a BatchPodsRequest."""
        found = None if self._varies else self._alike.get(tenant)
        if found is None:
            pod = self._pod(index)
            pod.metadata.tenant, pod.metadata.namespace = tenant, self._namespace
            found = wire.frame(_OBJECT_FIELD, pod.SerializeToString()), shape_of(pod)
            self._alike[tenant] = found
        return found

    def _pod(self, index: int) -> Pod:
        if self._template is None:
            return base_pod()
        pod = Pod()
        pod.CopyFrom(self._template.message(PODS, {**self._values, "Index": index, "Count": self._count}))
        return pod


def shape_of(pod: Pod) -> Shape:
    """Labels and requests, the latter as the server completes them."""
    complete = Pod()
    complete.CopyFrom(pod)
    defaults.apply(PODS, complete)
    return Shape(dict(pod.metadata.labels), {**placement.requests(complete), "pods": 1})
