"""The writes to pods of nodes that are not ready or are given up. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.conditions import NODE_NOT_READY
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodCondition
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.controllers.pods import SeenPod

DISRUPTION_TARGET = "DisruptionTarget"
DELETION_BY_TAINT_MANAGER = "DeletionByTaintManager"
WHY = "Taint manager: deleting due to NoExecute taint"
NOT_READY_MESSAGE = "Node is not ready"


def disrupted(pod: Pod, now_s: float) -> Pod | None:
    """The status update that says why the pod goes; None: it says so already, or is being deleted anyway."""
    if pod.metadata.HasField("deletion_timestamp"):
        return None
    update = _status_update(pod)
    condition = _condition(update, DISRUPTION_TARGET) or update.status.conditions.add(type=DISRUPTION_TARGET)
    if (condition.status, condition.reason) == ("True", DELETION_BY_TAINT_MANAGER):
        return None
    _set(condition, "True", DELETION_BY_TAINT_MANAGER, WHY, now_s)
    return update


def not_ready(pod: Pod, now_s: float) -> Pod | None:
    """The status update that says that nobody should send it requests; None: it is not ready as it is."""
    update = _status_update(pod)
    condition = _condition(update, "Ready")
    if condition is None or condition.status == "False":
        return None
    _set(condition, "False", NODE_NOT_READY, NOT_READY_MESSAGE, now_s)
    return update


def deletion(pod: SeenPod) -> DeleteRequest:
    """With the pod's own grace period, and only this pod."""
    return DeleteRequest(
        tenant=pod.tenant, namespace=pod.namespace, name=pod.name, preconditions=Preconditions(uid=pod.uid)
    )


def _status_update(pod: Pod) -> Pod:
    """Identity, preconditions (UID and resource version) and the status as it is."""
    update = Pod(status=pod.status)
    for name in ("tenant", "namespace", "name", "uid", "resource_version"):
        setattr(update.metadata, name, getattr(pod.metadata, name))
    return update


def _condition(pod: Pod, kind: str) -> PodCondition | None:
    return next((condition for condition in pod.status.conditions if condition.type == kind), None)


def _set(condition: PodCondition, status: str, reason: str, message: str, now_s: float) -> None:
    if condition.status != status:
        condition.last_transition_time.CopyFrom(Timestamp(seconds=int(now_s)))
    condition.status, condition.reason, condition.message = status, reason, message
