"""Requests as bytes, and what is read of their answers. Pure.

A pod is its template's bytes, made once, and a metadata field of its own after them: protobuf merges the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.api import kinds, wire
from services.api.excerpts import excerpt
from services.api.pb.ursa.apps.v1 import replica_set_pb2, replica_set_service_pb2
from services.api.pb.ursa.core.v1 import pod_pb2, service_pb2, service_service_pb2
from services.api.pb.ursa.discovery.v1 import endpoint_slice_pb2, endpoint_slice_service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.bench.player.requests import Request, Resource, Template, Verb
from services.client.clientset import MERGE_PATCH
from services.rpc import methods

RUN_SECONDS_ANNOTATION = "ursa.io/hollow-run-seconds"
TEMPLATE_LABEL = "bench.ursa.io/template"
UPDATE_LABEL = "bench.ursa.io/updated"
_PADDING = "bench.ursa.io/padding"
_OBJECT_FIELD = 1  # of a CreatePodRequest; the objects of a BatchPodsRequest

_Identity = excerpt(pod_pb2.Pod, ("metadata.uid",))

_KINDS = {kind.resource: kind for kind in (kinds.PODS, kinds.REPLICA_SETS, kinds.SERVICES, kinds.ENDPOINT_SLICES)}
_ADDRESSES_MAX = 1000  # of an EndpointSlice, as in Kubernetes


@dataclass(frozen=True)
class Item:
    """What became of one object of a call: ``code`` is gRPC's, 0 for success."""

    uid: str
    code: int = 0
    message: str = ""


@dataclass(frozen=True)
class Call:
    """A method's path and its message."""

    path: str
    message: bytes


class Encoder:
    """Makes calls of requests, with the bytes of each template kept."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._specs = {name: spec(template) for name, template in templates.items()}
        self._pods: dict[tuple[str, bool], bytes] = {}
        self._templates = dict(templates)

    def call(self, request: Request, indices: Sequence[int] = ()) -> Call:
        """The call of a request; for pods, about those of ``indices`` only (places among its names)."""
        kind = _KINDS[request.resource]
        if request.resource is Resource.PODS:
            return self._pod_call(request, list(indices) if indices else list(range(request.count)))
        match request.verb:
            case Verb.CREATE:
                return Call(methods.path(kind, "Create"), self._object(request))
            case Verb.DELETE:
                return Call(methods.path(kind, "Delete"), _deletion(request, request.name).SerializeToString())
            case Verb.SCALE if request.resource is Resource.ENDPOINT_SLICES:
                return Call(methods.path(kind, "Patch"), _patch(request, request.name, _addresses(request.replicas)))
            case Verb.SCALE:
                return Call(
                    methods.path(kind, "Patch"), _patch(request, request.name, {"spec": {"replicas": request.replicas}})
                )
            case Verb.UPDATE:
                return Call(methods.path(kind, "Patch"), _patch(request, request.name, _relabeled(request)))

    def _pod_call(self, request: Request, indices: Sequence[int]) -> Call:
        names = request.names
        match request.verb:
            case Verb.CREATE:
                pods = [self._pod(request, names[index], index) for index in indices]
                method = "Create" if len(pods) == 1 else "BatchCreate"
                return Call(methods.path(kinds.PODS, method), b"".join(wire.frame(_OBJECT_FIELD, pod) for pod in pods))
            case Verb.DELETE if len(indices) == 1:
                message = _deletion(request, names[indices[0]])
                return Call(methods.path(kinds.PODS, "Delete"), message.SerializeToString())
            case Verb.DELETE:
                deletions = [wire.frame(1, _deletion(request, names[index]).SerializeToString()) for index in indices]
                return Call(methods.path(kinds.PODS, "BatchDelete"), b"".join(deletions))
            case Verb.UPDATE:
                name = names[indices[0]]
                return Call(methods.path(kinds.PODS, "Patch"), _patch(request, name, _relabeled(request)))
        raise ValueError(f"pods cannot be {request.verb}d")

    def _pod(self, request: Request, name: str, index: int) -> bytes:
        """As a client's library writes it: one ``metadata``, and first."""
        life_s = request.lifetimes_s[index] if request.lifetimes_s else 0.0
        metadata = meta_pb2.ObjectMeta(name=name, namespace=request.namespace, tenant=request.tenant)
        metadata.labels["app"] = request.name
        metadata.labels[TEMPLATE_LABEL] = request.template
        if padding := self._templates[request.template].padding_bytes:
            metadata.annotations[_PADDING] = "x" * padding
        if life_s:
            metadata.annotations[RUN_SECONDS_ANNOTATION] = f"{life_s:g}"
        return wire.frame(1, metadata.SerializeToString()) + self._rest(request.template, bool(life_s))

    def _rest(self, name: str, ends: bool) -> bytes:
        """What pods of a template have beside their metadata."""
        made = self._pods.get((name, ends))
        if made is None:
            pod = pod_pb2.Pod(spec=self._specs[name])
            if ends:
                pod.spec.restart_policy = "Never"
            made = self._pods[name, ends] = pod.SerializeToString()
        return made

    def _object(self, request: Request) -> bytes:
        metadata = meta_pb2.ObjectMeta(name=request.name, namespace=request.namespace, tenant=request.tenant)
        metadata.labels["app"] = request.name
        match request.resource:
            case Resource.REPLICA_SETS:
                made = replica_set_pb2.ReplicaSet(metadata=metadata)
                made.spec.replicas = request.replicas
                made.spec.selector.match_labels["app"] = request.name
                made.spec.template.metadata.labels.update({"app": request.name, TEMPLATE_LABEL: request.template})
                made.spec.template.spec.CopyFrom(self._specs[request.template])
                return replica_set_service_pb2.CreateReplicaSetRequest(object=made).SerializeToString()
            case Resource.SERVICES:
                service = service_pb2.Service(metadata=metadata)
                service.spec.selector["app"] = request.name
                service.spec.ports.add(port=80, protocol="TCP")
                return service_service_pb2.CreateServiceRequest(object=service).SerializeToString()
            case _:
                metadata.labels["kubernetes.io/service-name"] = request.name
                endpoints = endpoint_slice_pb2.EndpointSlice(metadata=metadata, address_type="IPv4")
                endpoints.ports.add(port=80, protocol="TCP")
                for entry in _addresses(request.replicas)["endpoints"]:
                    endpoints.endpoints.add(addresses=entry["addresses"])
                return endpoint_slice_service_pb2.CreateEndpointSliceRequest(object=endpoints).SerializeToString()


def spec(template: Template) -> pod_pb2.PodSpec:
    """Upstream's pod-default template: one pause container that asks for what it may use."""
    made = pod_pb2.PodSpec()
    container = made.containers.add(name="pause", image="registry.k8s.io/pause:3.10")
    for quantities in (container.resources.requests, container.resources.limits):
        quantities["cpu"], quantities["memory"] = template.cpu, template.memory
    return made


def is_batch(call: Call) -> bool:
    return call.path.rpartition("/")[2].startswith("Batch")


def items(call: Call, answer: bytes) -> list[Item]:
    """What became of each object of the call."""
    if not is_batch(call):
        return [Item(_Identity.FromString(answer).metadata.uid)]
    outcomes = meta_pb2.BatchResponse.FromString(answer).outcomes
    return [Item(one.uid, one.status.code, one.status.message) for one in outcomes]


def get(request: Request, name: str) -> Call:
    """A consistent read of one of the request's objects."""
    message = meta_pb2.GetRequest(tenant=request.tenant, namespace=request.namespace, name=name)
    return Call(methods.path(_KINDS[request.resource], "Get"), message.SerializeToString())


def _deletion(request: Request, name: str) -> meta_pb2.DeleteRequest:
    return meta_pb2.DeleteRequest(
        tenant=request.tenant, namespace=request.namespace, name=name, propagation_policy="Background"
    )


def _patch(request: Request, name: str, change: object) -> bytes:
    return meta_pb2.PatchRequest(
        tenant=request.tenant, namespace=request.namespace, name=name, patch_type=MERGE_PATCH, patch=json.dumps(change)
    ).SerializeToString()


def _relabeled(request: Request) -> object:
    return {"metadata": {"labels": {UPDATE_LABEL: request.step or "yes"}}}


def _addresses(count: int) -> dict[str, list[dict[str, list[str]]]]:
    shown = range(min(count, _ADDRESSES_MAX))
    return {"endpoints": [{"addresses": [f"10.64.{index // 250}.{1 + index % 250}"]} for index in shown]}
