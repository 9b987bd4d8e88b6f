"""ReplicaSets: what is filled in, and what is refused with the path of its field."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from services.api import defaults, manifests, validation
from services.api.kinds import REPLICA_SETS

LABELS = {"app": "web"}
EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "replicaset.yaml"


def template(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": LABELS if labels is None else labels},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}], **spec},
    }


def made(status: dict[str, Any] | None = None, **spec: Any) -> Any:
    whole = {"selector": {"matchLabels": LABELS}, "template": template(), **spec}
    document = {"metadata": {"name": "web", "tenant": "acme", "namespace": "default"}, "spec": whole}
    message = manifests.parse_json(REPLICA_SETS, {**document, "status": status or {}})
    defaults.apply(REPLICA_SETS, message)
    return message


def faults(message: Any) -> list[tuple[str, str]]:
    return [(one.field, one.reason) for one in validation.validate_create(REPLICA_SETS, message)]


def test_one_pod_is_the_default_and_the_template_is_filled_in_as_a_pod_but_for_what_admission_adds() -> None:
    filled = made()
    spec = filled.spec.template.spec
    assert filled.spec.replicas == 1
    assert (spec.restart_policy, spec.dns_policy, spec.termination_grace_period_seconds) == (
        "Always",
        "ClusterFirst",
        30,
    )
    assert spec.containers[0].image_pull_policy == "IfNotPresent"
    assert not spec.tolerations
    again = type(filled)()
    again.CopyFrom(filled)
    defaults.apply(REPLICA_SETS, again)
    assert again == filled


def test_no_pods_at_all_may_be_wanted() -> None:
    assert made(replicas=0).spec.replicas == 0
    assert faults(made(replicas=0)) == []


def test_an_unmodified_kubernetes_manifest_is_good() -> None:
    [manifest] = manifests.load(EXAMPLE.read_text())
    found = manifest.object
    found.metadata.tenant, found.metadata.namespace = "acme", "default"
    defaults.apply(REPLICA_SETS, found)
    assert manifest.kind is REPLICA_SETS and found.spec.replicas == 3
    assert faults(found) == []


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"replicas": -1}, "spec.replicas", "Invalid"),
        ({"minReadySeconds": -1}, "spec.minReadySeconds", "Invalid"),
        ({"selector": None}, "spec.selector", "Required"),
        ({"selector": {}}, "spec.selector", "Invalid"),
        ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels", "Invalid"),
        (
            {"selector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}},
            "spec.selector.matchExpressions[0].operator",
            "NotSupported",
        ),
        ({"template": None}, "spec.template", "Required"),
        ({"template": template({})}, "spec.template.metadata.labels", "Invalid"),
        ({"template": template({**LABELS, "a b": "c"})}, "spec.template.metadata.labels[a b]", "Invalid"),
        ({"template": template(restartPolicy="Never")}, "spec.template.spec.restartPolicy", "NotSupported"),
        ({"template": template(restartPolicy="OnFailure")}, "spec.template.spec.restartPolicy", "NotSupported"),
        ({"template": template(activeDeadlineSeconds=5)}, "spec.template.spec.activeDeadlineSeconds", "Forbidden"),
        ({"template": template(containers=[])}, "spec.template.spec.containers", "Required"),
    ],
)
def test_a_bad_replica_set_is_named_by_its_field(spec: dict[str, Any], field: str, reason: str) -> None:
    message = without(*spec) if None in spec.values() else made(**spec)
    assert (field, reason) in faults(message)


def without(field: str) -> Any:
    message = made()
    message.spec.ClearField(field)
    return message


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"replicas": -1}, "status.replicas"),
        ({"replicas": 1, "readyReplicas": 2}, "status.readyReplicas"),
        ({"replicas": 1, "fullyLabeledReplicas": 2}, "status.fullyLabeledReplicas"),
        ({"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}, "status.availableReplicas"),
        ({"terminatingReplicas": -1}, "status.terminatingReplicas"),
    ],
)
def test_a_status_that_cannot_be_is_refused(status: dict[str, Any], field: str) -> None:
    found = validation.validate_update(REPLICA_SETS, made(status), made())
    assert (field, "Invalid") in [(one.field, one.reason) for one in found]


def test_the_selector_stays_and_the_rest_may_change() -> None:
    old = made()
    changed = made(replicas=9, template=template({**LABELS, "new": "label"}))
    assert validation.validate_update(REPLICA_SETS, changed, old) == []
    labels = {"app": "other"}
    moved = made(selector={"matchLabels": labels}, template=template(labels))
    [fault] = validation.validate_update(REPLICA_SETS, moved, old)
    assert (fault.field, fault.reason) == ("spec.selector", "Invalid") and "field is immutable" in fault.message
