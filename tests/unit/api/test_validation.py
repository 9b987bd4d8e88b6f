# ruff: noqa: E501 (tables: one case, one line)
"""Validation: bad input is named by its JSON path and by what is wrong with it; good input passes."""

from __future__ import annotations

from typing import Any

import pytest

from services.api import defaults, kinds, manifests, validation
from services.api.kinds import PODS, Kind
from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.validation import FieldViolation
from tests.unit.api.pods import pod, pod_document


def created(kind: Kind, document: dict[str, Any]) -> list[FieldViolation]:
    message = manifests.parse_json(kind, document)
    defaults.apply(kind, message)
    return validation.validate_create(kind, message)


def pairs(violations: list[FieldViolation]) -> list[tuple[str, str]]:
    return [(violation.field, violation.reason) for violation in violations]


def main(**fields: Any) -> dict[str, Any]:
    """A pod's spec with one container."""
    return {"containers": [{"name": "main", "image": "nginx", **fields}]}


def node_term(**requirement: Any) -> dict[str, Any]:
    terms = [{"matchExpressions": [requirement]}]
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}}


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NODE_TERMS = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
MAIN = "spec.containers[0]"

GOOD_SPECS: list[dict[str, Any]] = [
    {},
    main(resources={"requests": {"cpu": "100m", "memory": 0}, "limits": {"cpu": 1, "memory": "1Gi"}}),
    main(resources={"limits": {"example.com/gpu": 2, "hugepages-2Mi": "4Mi"}}),
    main(ports=[{"containerPort": 80, "name": "web"}, {"containerPort": 80, "protocol": "UDP", "hostPort": 80}]),
    main(ports=[{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80, "protocol": "UDP"}]),
    main(ports=[{"containerPort": 1, "hostPort": 8, "hostIP": "10.0.0.1"}, {"containerPort": 1, "hostPort": 8, "hostIP": "::1"}]),
    main(livenessProbe={"grpc": {"port": 1}}, startupProbe={"tcpSocket": {"port": "web"}}),
    main(lifecycle={"preStop": {"sleep": {"seconds": 1}}, "postStart": {"exec": {"command": ["true"]}}}),
    main(env=[{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]),
    main(envFrom=[{"prefix": "P_", "configMapRef": {"name": "cm"}}]),
    {"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b"}, {"key": "a", "operator": "Exists"}]},
    {"tolerations": [{"key": "a", "operator": "Equal", "value": "", "effect": "NoExecute", "tolerationSeconds": -1}]},
    node_term(key="zone", operator="In", values=["a", "b"]),
    node_term(key="cpus", operator="Gt", values=["3"]),
    {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}}},
    {"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": {
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}}]}}},
    {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "labelSelector": {}},
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]},
    {"initContainers": [{"name": "a", "image": "b"}, {"name": "s", "image": "b", "restartPolicy": "Always",
        "readinessProbe": {"exec": {"command": ["true"]}}}]},
    {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], **main(volumeMounts=[{"name": "v", "mountPath": "/v"}])},
    {"schedulingGates": [{"name": "example.com/wait"}], "nodeSelector": {"disk": ""}},
    {"overhead": {"cpu": "10m"}, "priorityClassName": "high", "preemptionPolicy": "Never", "os": {"name": "linux"}},
    {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}, "hostAliases": [{"ip": "::1", "hostnames": ["a.b"]}]},
    {"securityContext": {"runAsUser": 0, "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}},
]  # fmt: skip


@pytest.mark.parametrize("spec", GOOD_SPECS, ids=lambda spec: ",".join(spec) or "plain")
def test_a_good_pod_passes(spec: dict[str, Any]) -> None:
    assert created(PODS, pod_document(**spec)) == []


BAD_SPECS: list[tuple[dict[str, Any], str, str]] = [
    # containers
    ({"containers": []}, "spec.containers", "Required"),
    (main(name=""), f"{MAIN}.name", "Required"),
    (main(name="Main"), f"{MAIN}.name", "Invalid"),
    (main(name="a" * 64), f"{MAIN}.name", "Invalid"),
    (main(image=""), f"{MAIN}.image", "Required"),
    (main(image=" nginx"), f"{MAIN}.image", "Invalid"),
    ({"containers": [{"name": "a", "image": "x"}] * 2}, "spec.containers[1].name", "Duplicate"),
    ({"initContainers": [{"name": "main", "image": "x"}]}, f"{MAIN}.name", "Duplicate"),
    (main(imagePullPolicy="Sometimes"), f"{MAIN}.imagePullPolicy", "NotSupported"),
    (main(terminationMessagePolicy="x"), f"{MAIN}.terminationMessagePolicy", "NotSupported"),
    (main(restartPolicy="Always"), f"{MAIN}.restartPolicy", "Forbidden"),
    ({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Never"}]}, "spec.initContainers[0].restartPolicy", "NotSupported"),
    ({"initContainers": [{"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["a"]}}}]}, "spec.initContainers[0].livenessProbe", "Forbidden"),
    # resources
    (main(resources={"requests": {"cpu": "-1"}}), f"{MAIN}.resources.requests[cpu]", "Invalid"),
    (main(resources={"requests": {"cpu": "lots"}}), f"{MAIN}.resources.requests[cpu]", "Invalid"),
    (main(resources={"requests": {"cpu": "1e30"}}), f"{MAIN}.resources.requests[cpu]", "Invalid"),
    (main(resources={"requests": {"cpu": "9223372036854775807"}}), f"{MAIN}.resources.requests[cpu]", "Invalid"),
    (main(resources={"requests": {"memory": "9223372036854775808"}}), f"{MAIN}.resources.requests[memory]", "Invalid"),
    (main(resources={"requests": {"memory": "8Ei"}}), f"{MAIN}.resources.requests[memory]", "Invalid"),
    (main(resources={"requests": {"cpu": 2}, "limits": {"cpu": 1}}), f"{MAIN}.resources.requests[cpu]", "Invalid"),
    (main(resources={"requests": {"gpu": 1}}), f"{MAIN}.resources.requests[gpu]", "Invalid"),
    (main(resources={"requests": {"pods": 1}}), f"{MAIN}.resources.requests[pods]", "Invalid"),
    (main(resources={"requests": {"a b/c": 1}, "limits": {}}), f"{MAIN}.resources.requests[a b/c]", "Invalid"),
    (main(resources={"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": "0.5"}}), f"{MAIN}.resources.limits[example.com/gpu]", "Invalid"),
    (main(resources={"requests": {"example.com/gpu": 1}}), f"{MAIN}.resources.limits[example.com/gpu]", "Invalid"),
    (main(resources={"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": 2}}), f"{MAIN}.resources.requests[example.com/gpu]", "Invalid"),
    # ports
    (main(ports=[{"name": "web"}]), f"{MAIN}.ports[0].containerPort", "Required"),
    (main(ports=[{"containerPort": 65536}]), f"{MAIN}.ports[0].containerPort", "Invalid"),
    (main(ports=[{"containerPort": -1}]), f"{MAIN}.ports[0].containerPort", "Invalid"),
    (main(ports=[{"containerPort": 80, "hostPort": 70000}]), f"{MAIN}.ports[0].hostPort", "Invalid"),
    (main(ports=[{"containerPort": 80, "protocol": "HTTP"}]), f"{MAIN}.ports[0].protocol", "NotSupported"),
    (main(ports=[{"containerPort": 80, "name": "much-too-long-a-name"}]), f"{MAIN}.ports[0].name", "Invalid"),
    (main(ports=[{"containerPort": 80, "name": "80"}]), f"{MAIN}.ports[0].name", "Invalid"),
    (main(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]), f"{MAIN}.ports[1].name", "Duplicate"),
    (main(ports=[{"containerPort": 80, "hostIP": "localhost"}]), f"{MAIN}.ports[0].hostIP", "Invalid"),
    (main(ports=[{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80, "hostIP": "0.0.0.0"}]), f"{MAIN}.ports[1].hostPort", "Duplicate"),
    ({"containers": [{"name": n, "image": "x", "ports": [{"containerPort": 1, "hostPort": 80}]} for n in "ab"]}, "spec.containers[1].ports[0].hostPort", "Duplicate"),
    ({"hostNetwork": True, **main(ports=[{"containerPort": 80, "hostPort": 81}])}, f"{MAIN}.ports[0].containerPort", "Invalid"),
    # environment and mounts
    (main(env=[{"value": "x"}]), f"{MAIN}.env[0].name", "Required"),
    (main(env=[{"name": "1A"}]), f"{MAIN}.env[0].name", "Invalid"),
    (main(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]), f"{MAIN}.env[0].valueFrom", "Invalid"),
    (main(env=[{"name": "A", "valueFrom": {}}]), f"{MAIN}.env[0].valueFrom", "Invalid"),
    (main(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]), f"{MAIN}.env[0].valueFrom.fieldRef.fieldPath", "NotSupported"),
    (main(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]), f"{MAIN}.env[0].valueFrom.secretKeyRef.key", "Required"),
    (main(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"key": "a"}}}]), f"{MAIN}.env[0].valueFrom.configMapKeyRef.name", "Required"),
    (main(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {}}}]), f"{MAIN}.env[0].valueFrom.resourceFieldRef.resource", "Required"),
    (main(envFrom=[{}]), f"{MAIN}.envFrom[0]", "Invalid"),
    (main(envFrom=[{"secretRef": {}}]), f"{MAIN}.envFrom[0].secretRef.name", "Required"),
    (main(volumeMounts=[{"name": "v", "mountPath": "/v"}]), f"{MAIN}.volumeMounts[0].name", "Invalid"),
    ({"volumes": [{"name": "v"}], **main(volumeMounts=[{"name": "v"}])}, f"{MAIN}.volumeMounts[0].mountPath", "Required"),
    ({"volumes": [{"name": "v"}], **main(volumeMounts=[{"name": "v", "mountPath": "/v"}] * 2)}, f"{MAIN}.volumeMounts[1].mountPath", "Invalid"),
    ({"volumes": [{"name": "v"}], **main(volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "a/../b"}])}, f"{MAIN}.volumeMounts[0].subPath", "Invalid"),
    ({"volumes": [{"name": "v"}], **main(volumeMounts=[{"name": "v", "mountPath": "/v", "mountPropagation": "x"}])}, f"{MAIN}.volumeMounts[0].mountPropagation", "NotSupported"),
    # probes and hooks
    (main(livenessProbe={}), f"{MAIN}.livenessProbe", "Required"),
    (main(livenessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}), f"{MAIN}.livenessProbe.tcpSocket", "Forbidden"),
    (main(livenessProbe={"exec": {}}), f"{MAIN}.livenessProbe.exec.command", "Required"),
    (main(livenessProbe={"httpGet": {}}), f"{MAIN}.livenessProbe.httpGet.port", "Required"),
    (main(livenessProbe={"httpGet": {"port": 0}}), f"{MAIN}.livenessProbe.httpGet.port", "Invalid"),
    (main(livenessProbe={"httpGet": {"port": "8080"}}), f"{MAIN}.livenessProbe.httpGet.port", "Invalid"),
    (main(livenessProbe={"httpGet": {"port": 1, "scheme": "FTP"}}), f"{MAIN}.livenessProbe.httpGet.scheme", "NotSupported"),
    (main(livenessProbe={"grpc": {}}), f"{MAIN}.livenessProbe.grpc.port", "Invalid"),
    (main(livenessProbe={"tcpSocket": {"port": 1}, "successThreshold": 2}), f"{MAIN}.livenessProbe.successThreshold", "Invalid"),
    (main(readinessProbe={"tcpSocket": {"port": 1}, "periodSeconds": -1}), f"{MAIN}.readinessProbe.periodSeconds", "Invalid"),
    (main(readinessProbe={"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 1}), f"{MAIN}.readinessProbe.terminationGracePeriodSeconds", "Invalid"),
    (main(lifecycle={"preStop": {}}), f"{MAIN}.lifecycle.preStop", "Required"),
    (main(securityContext={"privileged": True, "allowPrivilegeEscalation": False}), f"{MAIN}.securityContext.allowPrivilegeEscalation", "Invalid"),
    # the pod
    ({"restartPolicy": "Sometimes"}, "spec.restartPolicy", "NotSupported"),
    ({"dnsPolicy": "x"}, "spec.dnsPolicy", "NotSupported"),
    ({"dnsPolicy": "None"}, "spec.dnsConfig.nameservers", "Required"),
    ({"dnsConfig": {"nameservers": ["x"]}}, "spec.dnsConfig.nameservers[0]", "Invalid"),
    ({"preemptionPolicy": "x"}, "spec.preemptionPolicy", "NotSupported"),
    ({"terminationGracePeriodSeconds": -1}, "spec.terminationGracePeriodSeconds", "Invalid"),
    ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", "Invalid"),
    ({"nodeName": "N 1"}, "spec.nodeName", "Invalid"),
    ({"serviceAccountName": "A"}, "spec.serviceAccountName", "Invalid"),
    ({"priorityClassName": "A"}, "spec.priorityClassName", "Invalid"),
    ({"hostname": "a.b"}, "spec.hostname", "Invalid"),
    ({"nodeSelector": {"a b": "c"}}, "spec.nodeSelector[a b]", "Invalid"),
    ({"nodeSelector": {"a": "b c"}}, "spec.nodeSelector[a]", "Invalid"),
    ({"os": {"name": "beos"}}, "spec.os.name", "NotSupported"),
    ({"overhead": {"cpu": "-1"}}, "spec.overhead[cpu]", "Invalid"),
    ({"hostPID": True, "shareProcessNamespace": True}, "spec.shareProcessNamespace", "Invalid"),
    ({"hostAliases": [{"ip": "x"}]}, "spec.hostAliases[0].ip", "Invalid"),
    ({"imagePullSecrets": [{}]}, "spec.imagePullSecrets[0].name", "Required"),
    ({"schedulingGates": [{"name": "a"}, {"name": "a"}]}, "spec.schedulingGates[1].name", "Duplicate"),
    ({"schedulingGates": [{"name": ""}]}, "spec.schedulingGates[0].name", "Required"),
    ({"schedulingGates": [{"name": "a"}], "nodeName": "n1"}, "spec.nodeName", "Forbidden"),
    ({"readinessGates": [{"conditionType": "a b"}]}, "spec.readinessGates[0].conditionType", "Invalid"),
    ({"securityContext": {"runAsUser": -1}}, "spec.securityContext.runAsUser", "Invalid"),
    ({"securityContext": {"sysctls": [{"name": "a"}] * 2}}, "spec.securityContext.sysctls[1].name", "Duplicate"),
    ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "spec.securityContext.seccompProfile.localhostProfile", "Required"),
    # tolerations
    ({"tolerations": [{"value": "x"}]}, "spec.tolerations[0].operator", "Invalid"),
    ({"tolerations": [{"key": "a", "operator": "In"}]}, "spec.tolerations[0].operator", "NotSupported"),
    ({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, "spec.tolerations[0].value", "Invalid"),
    ({"tolerations": [{"key": "a", "effect": "Never"}]}, "spec.tolerations[0].effect", "NotSupported"),
    ({"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]}, "spec.tolerations[0].effect", "Invalid"),
    ({"tolerations": [{"key": "a b"}]}, "spec.tolerations[0].key", "Invalid"),
    # affinity
    ({"affinity": {"nodeAffinity": {REQUIRED: {}}}}, NODE_TERMS, "Required"),
    (node_term(key="a", operator="Equal", values=["b"]), f"{NODE_TERMS}[0].matchExpressions[0].operator", "NotSupported"),
    (node_term(key="a", values=["b"]), f"{NODE_TERMS}[0].matchExpressions[0].operator", "Required"),
    (node_term(key="a", operator="In"), f"{NODE_TERMS}[0].matchExpressions[0].values", "Required"),
    (node_term(key="a", operator="Exists", values=["b"]), f"{NODE_TERMS}[0].matchExpressions[0].values", "Forbidden"),
    (node_term(key="a", operator="Gt", values=["1", "2"]), f"{NODE_TERMS}[0].matchExpressions[0].values", "Required"),
    (node_term(key="a", operator="Lt", values=["x"]), f"{NODE_TERMS}[0].matchExpressions[0].values[0]", "Invalid"),
    (node_term(key="", operator="Exists"), f"{NODE_TERMS}[0].matchExpressions[0].key", "Invalid"),
    ({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]}]}}}}, f"{NODE_TERMS}[0].matchFields[0].key", "NotSupported"),
    ({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 101, "preference": {}}]}}}, f"spec.affinity.nodeAffinity.{PREFERRED}[0].weight", "Invalid"),
    ({"affinity": {"podAffinity": {REQUIRED: [{}]}}}, f"spec.affinity.podAffinity.{REQUIRED}[0].topologyKey", "Required"),
    ({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]}}}, f"spec.affinity.podAffinity.{REQUIRED}[0].labelSelector.matchExpressions[0].operator", "NotSupported"),
    ({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a", "namespaces": ["A"]}]}}}, f"spec.affinity.podAffinity.{REQUIRED}[0].namespaces[0]", "Invalid"),
    ({"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a", "matchLabelKeys": ["a"]}]}}}, f"spec.affinity.podAffinity.{REQUIRED}[0].matchLabelKeys", "Forbidden"),
    ({"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": "a"}}]}}}, f"spec.affinity.podAntiAffinity.{PREFERRED}[0].weight", "Invalid"),
    # topology spread
    ({"topologySpreadConstraints": [{"topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]}, "spec.topologySpreadConstraints[0].maxSkew", "Invalid"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}, "spec.topologySpreadConstraints[0].topologyKey", "Required"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a"}]}, "spec.topologySpreadConstraints[0].whenUnsatisfiable", "Required"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "Never"}]}, "spec.topologySpreadConstraints[0].whenUnsatisfiable", "NotSupported"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}] * 2}, "spec.topologySpreadConstraints[1]", "Duplicate"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1}]}, "spec.topologySpreadConstraints[0].minDomains", "Invalid"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "x"}]}, "spec.topologySpreadConstraints[0].nodeTaintsPolicy", "NotSupported"),
    # volumes
    ({"volumes": [{"emptyDir": {}}]}, "spec.volumes[0].name", "Required"),
    ({"volumes": [{"name": "a"}, {"name": "a"}]}, "spec.volumes[1].name", "Duplicate"),
    ({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]}, "spec.volumes[0].hostPath", "Forbidden"),
    ({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "-1"}}]}, "spec.volumes[0].emptyDir.sizeLimit", "Invalid"),
    ({"volumes": [{"name": "a", "hostPath": {}}]}, "spec.volumes[0].hostPath.path", "Required"),
    ({"volumes": [{"name": "a", "configMap": {}}]}, "spec.volumes[0].configMap.name", "Required"),
    ({"volumes": [{"name": "a", "configMap": {"name": "x", "items": [{"key": "a", "path": "/a"}]}}]}, "spec.volumes[0].configMap.items[0].path", "Invalid"),
    ({"volumes": [{"name": "a", "secret": {"secretName": "x", "defaultMode": 512}}]}, "spec.volumes[0].secret.defaultMode", "Invalid"),
    ({"volumes": [{"name": "a", "persistentVolumeClaim": {}}]}, "spec.volumes[0].persistentVolumeClaim.claimName", "Required"),
    ({"volumes": [{"name": "a", "nfs": {"server": "x", "path": "rel"}}]}, "spec.volumes[0].nfs.path", "Invalid"),
    ({"volumes": [{"name": "a", "projected": {"sources": [{}]}}]}, "spec.volumes[0].projected.sources[0]", "Required"),
    ({"volumes": [{"name": "a", "downwardAPI": {"items": [{"path": "x"}]}}]}, "spec.volumes[0].downwardAPI.items[0]", "Required"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "field", "reason"), BAD_SPECS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_bad_pod_is_refused_by_path_and_for_that_alone(spec: dict[str, Any], field: str, reason: str) -> None:
    assert pairs(created(PODS, pod_document(**spec))) == [(field, reason)]


BAD_METADATA: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "metadata.name", "Required"),
    ({"name": "Web"}, "metadata.name", "Invalid"),
    ({"name": "web_1"}, "metadata.name", "Invalid"),
    ({"name": "-web"}, "metadata.name", "Invalid"),
    ({"name": "web."}, "metadata.name", "Invalid"),
    ({"name": "a/b"}, "metadata.name", "Invalid"),
    ({"name": "web\n"}, "metadata.name", "Invalid"),
    ({"name": "a" * 254}, "metadata.name", "Invalid"),
    ({"generateName": "Web-"}, "metadata.generateName", "Invalid"),
    ({"namespace": ""}, "metadata.namespace", "Required"),
    ({"namespace": "a.b"}, "metadata.namespace", "Invalid"),
    ({"tenant": ""}, "metadata.tenant", "Required"),
    ({"tenant": "*"}, "metadata.tenant", "Invalid"),
    ({"labels": {"a b": ""}}, "metadata.labels[a b]", "Invalid"),
    ({"labels": {"/a": ""}}, "metadata.labels[/a]", "Invalid"),
    ({"labels": {"a": "b c"}}, "metadata.labels[a]", "Invalid"),
    ({"labels": {"a": "x" * 64}}, "metadata.labels[a]", "Invalid"),
    ({"labels": {"x" * 64: "a"}}, f"metadata.labels[{'x' * 64}]", "Invalid"),
    ({"annotations": {"a b": ""}}, "metadata.annotations[a b]", "Invalid"),
    ({"annotations": {"a": "x" * 2**18}}, "metadata.annotations", "TooLong"),
    ({"finalizers": [""]}, "metadata.finalizers[0]", "Invalid"),
    ({"resourceVersion": "5"}, "metadata.resourceVersion", "Invalid"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n"}]}, "metadata.ownerReferences[0].uid", "Required"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": n, "uid": n, "controller": True} for n in "ab"]}, "metadata.ownerReferences", "Invalid"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "field", "reason"), BAD_METADATA, ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_metadata_is_refused_by_path(metadata: dict[str, Any], field: str, reason: str) -> None:
    document = pod_document()
    document["metadata"].update(metadata)
    assert pairs(created(PODS, document)) == [(field, reason)]


def test_a_generated_name_stands_for_a_name() -> None:
    document = pod_document()
    document["metadata"] = {"generateName": "web-", "namespace": "default", "tenant": "acme"}
    assert created(PODS, document) == []


def test_annotation_keys_may_have_capitals() -> None:
    document = pod_document()
    document["metadata"]["annotations"] = {"Example.COM/Note": "any text\nat all"}
    assert created(PODS, document) == []


def test_every_fault_is_reported_with_a_sentence() -> None:
    found = created(PODS, pod_document(restartPolicy="x", containers=[{"name": "Main", "image": "a"}]))
    assert [str(violation) for violation in found] == [
        'spec.containers[0].name: Invalid value: "Main": a lowercase RFC 1123 label must consist of lower case '
        "alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name', or "
        "'123-abc')",
        'spec.restartPolicy: Unsupported value: "x": supported values: "Always", "Never", "OnFailure"',
    ]


OTHERS: list[tuple[Kind, dict[str, Any], str, str]] = [
    (kinds.NODES, {"metadata": {"name": "n1", "tenant": "acme"}}, "metadata.tenant", "Forbidden"),
    (kinds.NODES, {"metadata": {"name": "n1", "namespace": "a"}}, "metadata.namespace", "Forbidden"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a"}]}}, "spec.taints[0].effect", "Required"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [{"effect": "NoSchedule"}]}}, "spec.taints[0].key", "Required"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}] * 2}}, "spec.taints[1]", "Duplicate"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "-1"}, "allocatable": {"cpu": 1}}}, "status.capacity[cpu]", "Invalid"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "status": {"allocatable": {"pods": "0.5"}}}, "status.allocatable[pods]", "Invalid"),
    (kinds.NODES, {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "Yes"}]}}, "status.conditions[0].status", "NotSupported"),
    (kinds.NAMESPACES, {"metadata": {"name": "a.b", "tenant": "acme"}}, "metadata.name", "Invalid"),
    (kinds.NAMESPACES, {"metadata": {"name": "a", "tenant": "acme"}, "spec": {"finalizers": ["a b"]}}, "spec.finalizers[0]", "Invalid"),
    (kinds.NAMESPACES, {"metadata": {"name": "a"}}, "metadata.tenant", "Required"),
    (kinds.LEASES, {"metadata": {"name": "n1", "namespace": "x", "tenant": "system"}, "spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds", "Invalid"),
    (kinds.LEASES, {"metadata": {"name": "n1", "namespace": "x", "tenant": "system"}, "spec": {"leaseTransitions": -1}}, "spec.leaseTransitions", "Invalid"),
    (kinds.EVENTS, {"metadata": {"name": "e", "namespace": "x", "tenant": "acme"}, "type": "Odd"}, "type", "NotSupported"),
    (kinds.EVENTS, {"metadata": {"name": "e", "namespace": "x", "tenant": "acme"}, "involvedObject": {"namespace": "y"}}, "involvedObject.namespace", "Invalid"),
    (kinds.EVENTS, {"metadata": {"name": "e", "namespace": "x", "tenant": "acme"}, "count": -1}, "count", "Invalid"),
    (kinds.PRIORITY_CLASSES, {"metadata": {"name": "p", "tenant": "acme"}, "value": 1000000001}, "value", "Forbidden"),
    (kinds.PRIORITY_CLASSES, {"metadata": {"name": "system-x", "tenant": "acme"}, "value": 1}, "metadata.name", "Forbidden"),
    (kinds.PRIORITY_CLASSES, {"metadata": {"name": "p", "tenant": "acme"}, "preemptionPolicy": "x"}, "preemptionPolicy", "NotSupported"),
    (kinds.TENANTS, {"metadata": {"name": "Acme"}}, "metadata.name", "Invalid"),
    (kinds.TENANT_PLACEMENTS, {"metadata": {"name": "acme"}}, "spec.tenantPartition", "Required"),
    (kinds.TENANT_PARTITIONS, {"metadata": {"name": "tp-1"}}, "spec.endpoints", "Required"),
    (kinds.RESOURCE_PARTITIONS, {"metadata": {"name": "rp-1"}, "spec": {"endpoints": ["a:1", "b"]}}, "spec.endpoints[1]", "Invalid"),
    (kinds.RESOURCE_PARTITIONS, {"metadata": {"name": "rp-1"}, "spec": {"endpoints": ["http://a:1"]}}, "spec.endpoints[0]", "Invalid"),
    (kinds.RESOURCE_PARTITIONS, {"metadata": {"name": "rp-1"}, "spec": {"endpoints": ["a:99999"]}}, "spec.endpoints[0]", "Invalid"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "document", "field", "reason"), OTHERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_other_kinds_are_refused_by_path(kind: Kind, document: dict[str, Any], field: str, reason: str) -> None:
    assert pairs(created(kind, document)) == [(field, reason)]


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (
            kinds.NODES,
            {"metadata": {"name": "n1.example.com"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        ),
        (kinds.NAMESPACES, {"metadata": {"name": "a", "tenant": "acme"}}),
        (kinds.LEASES, {"metadata": {"name": "n1", "namespace": "kube-node-lease", "tenant": "system"}}),
        (kinds.EVENTS, {"metadata": {"name": "web.17f3", "namespace": "x", "tenant": "acme"}, "type": "Warning"}),
        (kinds.PRIORITY_CLASSES, {"metadata": {"name": "low", "tenant": "acme"}, "value": -10}),
        (
            kinds.PRIORITY_CLASSES,
            {"metadata": {"name": "system-node-critical", "tenant": "acme"}, "value": 2000001000},
        ),
        (kinds.TENANTS, {"metadata": {"name": "acme"}}),
        (kinds.TENANT_PLACEMENTS, {"metadata": {"name": "acme"}, "spec": {"tenantPartition": "tp-1"}}),
        (kinds.TENANT_PARTITIONS, {"metadata": {"name": "tp-1"}, "spec": {"endpoints": ["[::1]:7110"]}}),
    ],
)
def test_good_objects_of_other_kinds_pass(kind: Kind, document: dict[str, Any]) -> None:
    assert created(kind, document) == []


def binding(**changes: str) -> Binding:
    found = Binding(resource_partition=changes.get("partition", "rp-1"))
    found.metadata.tenant, found.metadata.namespace = changes.get("tenant", "acme"), changes.get("namespace", "default")
    found.metadata.name = changes.get("name", "web")
    found.target.name, found.target.kind = changes.get("node", "n1"), changes.get("kind", "Node")
    return found


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"tenant": ""}, "metadata.tenant", "Required"),
        ({"namespace": ""}, "metadata.namespace", "Required"),
        ({"name": ""}, "metadata.name", "Required"),
        ({"name": "A"}, "metadata.name", "Invalid"),
        ({"node": ""}, "target.name", "Required"),
        ({"kind": "Pod"}, "target.kind", "NotSupported"),
        ({"partition": ""}, "resourcePartition", "Required"),
    ],
)
def test_a_binding_names_pod_node_and_partition(changes: dict[str, str], field: str, reason: str) -> None:
    assert pairs(validation.validate_binding(binding(**changes))) == [(field, reason)]


def test_a_good_binding_passes() -> None:
    assert validation.validate_binding(binding()) == []
    assert validation.validate_binding(binding(kind="")) == []


def test_validation_changes_nothing() -> None:
    message = pod(containers=[{"name": "Main", "image": ""}])
    before = message.SerializeToString(deterministic=True)
    assert validation.validate_create(PODS, message)
    assert message.SerializeToString(deterministic=True) == before
