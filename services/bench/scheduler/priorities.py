"""Pods whose priority is a number. Upstream runs its API server without Priority admission, so that templates may say
``priority: 10``; Ursa's admission takes a number only from a PriorityClass. Each number therefore gets a class of its
own in every tenant, and the pod names it beside its number: the scheduler sees the same pod as upstream's.
"""

from __future__ import annotations

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass


def class_name(priority: int) -> str:
    return f"bench-priority-{'minus-' if priority < 0 else ''}{abs(priority)}"


def classify(pod: Pod) -> int | None:
    """Name the class of a pod's number in the pod; the number, or None if the pod says none."""
    if not pod.spec.HasField("priority") or pod.spec.priority_class_name:
        return None
    pod.spec.priority_class_name = class_name(pod.spec.priority)
    return int(pod.spec.priority)


def priority_class(priority: int) -> PriorityClass:
    """The class that gives this number."""
    made = PriorityClass(value=priority)
    made.metadata.name = class_name(priority)
    return made
