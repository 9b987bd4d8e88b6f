"""Rules of ReplicaSets (kubernetes ``pkg/apis/apps/validation`` ValidateReplicaSet, its registry's strategy)."""

from __future__ import annotations

from services.api.pb.ursa.apps.v1.replica_set_pb2 import PodTemplateSpec, ReplicaSet, ReplicaSetSpec
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.selectors import LabelSelector
from services.api.validation.metadata import annotations_faults, labels_faults
from services.api.validation.pods import spec_faults
from services.api.validation.selectors import label_selector_faults
from services.api.validation.violations import (
    Violations,
    forbidden,
    invalid,
    non_negative,
    not_supported,
    required,
    under,
)

_COUNTS = ("fully_labeled_replicas", "ready_replicas", "available_replicas")


def replica_set(replica_set: ReplicaSet) -> Violations:
    return under("spec", _spec(replica_set.spec)) + under("status", _status(replica_set))


def replica_set_update(new: ReplicaSet, old: ReplicaSet) -> Violations:
    found = under("status", _status(new)) if new.status != old.status else []
    if new.spec == old.spec:
        return found
    found += under("spec", _spec(new.spec))
    if new.spec.selector != old.spec.selector:
        found.append(invalid("spec.selector", str(_selector(new.spec) or ""), "field is immutable"))
    return found


def _spec(spec: ReplicaSetSpec) -> Violations:
    found = non_negative("replicas", spec.replicas) + non_negative("minReadySeconds", spec.min_ready_seconds)
    if not spec.HasField("selector"):
        found.append(required("selector"))
    elif not spec.selector.match_labels and not spec.selector.match_expressions:
        found.append(invalid("selector", "", "empty selector is invalid for a ReplicaSet"))
    else:
        found += under("selector", label_selector_faults(spec.selector))
    if not spec.HasField("template"):
        return [*found, required("template")]
    selector = _selector(spec)
    if selector is not None and not selector.everything and not selector.matches(spec.template.metadata.labels):
        shown = ",".join(f"{key}={value}" for key, value in sorted(spec.template.metadata.labels.items()))
        found.append(invalid("template.metadata.labels", shown, "`selector` does not match template `labels`"))
    return found + under("template", _template(spec.template))


def _selector(spec: ReplicaSetSpec) -> LabelSelector | None:
    """None: unset or wrong, which is said elsewhere."""
    try:
        return LabelSelector.from_message(spec.selector) if spec.HasField("selector") else None
    except ValueError:
        return None


def _template(template: PodTemplateSpec) -> Violations:
    found = labels_faults("metadata.labels", template.metadata.labels)
    found += under("metadata", annotations_faults(template.metadata.annotations))
    found += spec_faults(Pod(spec=template.spec))
    policy = template.spec.restart_policy
    if policy in ("OnFailure", "Never"):
        found.append(not_supported("spec.restartPolicy", policy, ("Always",)))
    if template.spec.HasField("active_deadline_seconds"):
        found.append(forbidden("spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"))
    return found


def _status(replica_set: ReplicaSet) -> Violations:
    status = replica_set.status
    found = non_negative("replicas", status.replicas)
    found += non_negative("fullyLabeledReplicas", status.fully_labeled_replicas)
    found += non_negative("readyReplicas", status.ready_replicas)
    found += non_negative("availableReplicas", status.available_replicas)
    found += non_negative("terminatingReplicas", status.terminating_replicas)
    found += non_negative("observedGeneration", status.observed_generation)
    for field, name in zip(_COUNTS, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"), strict=True):
        if getattr(status, field) > status.replicas:
            found.append(invalid(name, getattr(status, field), "cannot be greater than status.replicas"))
    if status.available_replicas > status.ready_replicas:
        detail = "cannot be greater than readyReplicas"
        found.append(invalid("availableReplicas", status.available_replicas, detail))
    return found
