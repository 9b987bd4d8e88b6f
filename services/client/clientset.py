"""Typed clients of one partition, one per kind, driven by the kinds table.

Every method raises ``services.rpc.status.StatusError`` and nothing else of the transport's, a batch also when its
answer has not one outcome per item. ``UNAVAILABLE``, ``DEADLINE_EXCEEDED`` and ``RESOURCE_EXHAUSTED`` are worth a retry
(``calls.is_retryable``).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from services.api import kinds
from services.api.kinds import Kind
from services.api.pb.ursa.apps.v1 import replica_set_pb2
from services.api.pb.ursa.coordination.v1 import lease_pb2
from services.api.pb.ursa.core.v1 import event_pb2, namespace_pb2, node_pb2, pod_pb2, pod_service_pb2, service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.policy.v1 import pod_disruption_budget_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2, priority_class_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.client import calls
from services.rpc import methods
from services.rpc.status import StatusError, from_status

M = TypeVar("M", bound=Message)

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Timeouts:
    """Default deadlines of calls, in seconds. A watch has none: it ends when it is cancelled or lost."""

    unary_s: float = 10.0
    batch_s: float = 30.0
    list_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """A list or one page of it, in key order, all as of ``resource_version``.

    ``continue_token`` is empty on the last page; ``remaining``: items after this page, None if unknown.
    """

    items: list[M]
    resource_version: int
    continue_token: str
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item of a batch. ``status`` is None on success."""

    status: StatusError | None
    name: str
    uid: str
    resource_version: int


class ResourceClient(Generic[M]):
    """The methods of one kind on one partition. Lists go through ``bulk``, so that they never delay the rest."""

    def __init__(self, channel: grpc.aio.Channel, kind: Kind, *, bulk: grpc.aio.Channel, timeouts: Timeouts) -> None:
        self.kind = kind
        self._channel = channel
        self._bulk = bulk
        self._timeouts = timeouts
        self._methods: dict[str, Any] = {}

    async def get(
        self,
        name: str,
        *,
        tenant: str = "",
        namespace: str = "",
        resource_version: int | None = None,
        timeout_s: float | None = None,
    ) -> M:
        """``resource_version``: None: most recent; 0: any age; N: not older than N."""
        request = meta_pb2.GetRequest(tenant=tenant, namespace=namespace, name=name, resource_version=resource_version)
        return await self._unary("Get", request, timeout_s)  # type: ignore[no-any-return]

    async def list(
        self,
        *,
        tenant: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: int | None = None,
        match: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Listing[M]:
        """One page of at most ``limit`` items (0: all). Freshness as in SEMANTICS.md's LIST table."""
        request = meta_pb2.ListRequest(
            tenant=tenant,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            resource_version_match=match,
            limit=limit,
            continue_token=continue_token,
        )
        # The parts concatenated are one message: protobuf appends repeated fields and merges singular ones.
        chunks = [part async for part in calls.parts(self._list_method(), request, self._timeouts.list_s)]
        parsed: Any = self.kind.list_message.FromString(b"".join(chunks))
        metadata = parsed.metadata
        return Listing(
            items=[*parsed.items],
            resource_version=metadata.resource_version,
            continue_token=metadata.continue_token,
            remaining=metadata.remaining_item_count if metadata.HasField("remaining_item_count") else None,
        )

    async def pages(
        self, *, tenant: str = "", namespace: str = "", label_selector: str = "", field_selector: str = "", limit: int
    ) -> AsyncIterator[Listing[M]]:
        """All pages of a list, each as of the first one's resource version. Raises ``Expired`` if that is gone."""
        token = ""
        while True:
            page = await self.list(
                tenant=tenant,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
                continue_token=token,
            )
            yield page
            token = page.continue_token
            if not token:
                return

    async def watch(
        self,
        *,
        tenant: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: int | None = None,
        send_initial_events: bool | None = None,
        bookmarks: bool = False,
        match: str = "",
    ) -> AsyncIterator[Any]:
        """The kind's own WatchBatch messages on a stream of their own, for people; components use ``WatchMux``."""
        request = watch_request(
            tenant=tenant,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            send_initial_events=send_initial_events,
            bookmarks=bookmarks,
            match=match,
        )
        method = self._channel.unary_stream(
            methods.path(self.kind, "Watch"),
            request_serializer=_serialize,
            response_deserializer=self.kind.watch_batch_message.FromString,
        )
        async with contextlib.aclosing(calls.parts(method, request, None)) as batches:
            async for batch in batches:
                yield batch

    async def create(self, obj: M, *, dry_run: bool = False) -> M:
        return await self._write("Create", self.kind.create_request, obj, dry_run)

    async def update(self, obj: M, *, dry_run: bool = False) -> M:
        """``metadata.resource_version`` set: must match; 0: unconditional. ``metadata.uid`` set: must match."""
        return await self._write("Update", self.kind.update_request, obj, dry_run)

    async def update_status(self, obj: M, *, dry_run: bool = False) -> M:
        """Takes only ``metadata`` (name, preconditions) and ``status``."""
        return await self._write("UpdateStatus", self.kind.update_request, obj, dry_run)

    async def patch(
        self,
        name: str,
        patch: str,
        *,
        tenant: str = "",
        namespace: str = "",
        patch_type: str = MERGE_PATCH,
        subresource: str = "",
        uid: str = "",
        resource_version: int = 0,
        dry_run: bool = False,
    ) -> M:
        """``patch`` is a JSON document; ``subresource`` is "" or "status"."""
        request = meta_pb2.PatchRequest(
            tenant=tenant,
            namespace=namespace,
            name=name,
            patch_type=patch_type,
            patch=patch,
            subresource=subresource,
            preconditions=_preconditions(uid, resource_version),
            dry_run=dry_run,
        )
        return await self._unary("Patch", request)  # type: ignore[no-any-return]

    async def delete(
        self,
        name: str,
        *,
        tenant: str = "",
        namespace: str = "",
        uid: str = "",
        resource_version: int = 0,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        dry_run: bool = False,
    ) -> M:
        """The object as it was, or as it now is if it ends gracefully. ``uid``, ``resource_version``: preconditions."""
        request = meta_pb2.DeleteRequest(
            tenant=tenant,
            namespace=namespace,
            name=name,
            preconditions=_preconditions(uid, resource_version),
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            dry_run=dry_run,
        )
        return await self._unary("Delete", request)  # type: ignore[no-any-return]

    async def delete_collection(
        self,
        *,
        tenant: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        dry_run: bool = False,
    ) -> int:
        """How many objects were deleted or marked for deletion."""
        request = meta_pb2.DeleteCollectionRequest(
            tenant=tenant,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            dry_run=dry_run,
        )
        method = self._method("DeleteCollection", meta_pb2.DeleteCollectionResponse)
        answer = await calls.unary(method, request, self._timeouts.batch_s)
        return int(answer.deleted)

    async def batch_create(self, objs: Iterable[M], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        """An outcome per object, in order; atomic per object, not across them."""
        return await self._batch("BatchCreate", self.kind.batch_request, objs, timeout_s)

    async def batch_update(self, objs: Iterable[M], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        return await self._batch("BatchUpdate", self.kind.batch_request, objs, timeout_s)

    async def batch_update_status(self, objs: Iterable[M], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        return await self._batch("BatchUpdateStatus", self.kind.batch_request, objs, timeout_s)

    async def _write(self, method: str, request: type[Message], obj: M, dry_run: bool) -> M:
        return await self._unary(method, request(object=obj, dry_run=dry_run))  # type: ignore[no-any-return]

    async def _batch(
        self, method: str, request: type[Message], objs: Iterable[Message], timeout_s: float | None
    ) -> Sequence[Outcome]:
        sent: Any = request(objects=objs)
        return await self._outcomes(method, sent, len(sent.objects), timeout_s)

    async def _outcomes(self, method: str, request: Message, items: int, timeout_s: float | None) -> Sequence[Outcome]:
        found = await self._batch_call(method, request, items, meta_pb2.BatchResponse, timeout_s)
        return [
            Outcome(
                from_status(item.status) if item.HasField("status") else None,
                item.name,
                item.uid,
                item.resource_version,
            )
            for item in found
        ]

    async def _batch_call(
        self, method: str, request: Message, items: int, answer: type[Message], timeout_s: float | None
    ) -> Sequence[Any]:
        """The outcomes, one per item and in order: whoever pairs them with what was sent need not count."""
        response = await calls.unary(self._method(method, answer), request, timeout_s or self._timeouts.batch_s)
        if len(response.outcomes) != items:
            text = f"{self.kind.resource}: {len(response.outcomes)} outcomes for {items} items of {method}"
            raise StatusError(grpc.StatusCode.INTERNAL, "InternalError", text)
        return [*response.outcomes]

    async def _unary(self, method: str, request: Message, timeout_s: float | None = None) -> Any:
        return await calls.unary(self._method(method, self.kind.message), request, timeout_s or self._timeouts.unary_s)

    def _method(self, name: str, answer: type[Message]) -> Any:
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._channel.unary_unary(
                methods.path(self.kind, name), request_serializer=_serialize, response_deserializer=answer.FromString
            )
        return method

    def _list_method(self) -> Any:
        method = self._methods.get("List")
        if method is None:
            method = self._methods["List"] = self._bulk.unary_stream(
                methods.path(self.kind, "List"), request_serializer=_serialize, response_deserializer=_identity
            )
        return method


class PodClient(ResourceClient[pod_pb2.Pod]):
    """Pods, which can also be bound to a node."""

    async def bind(self, binding: pod_pb2.Binding) -> pod_pb2.Pod:
        """Bind an unbound pod; bound to the same node already is success. Raises ``Conflict`` for another node."""
        return await self._unary("Bind", pod_service_pb2.BindPodRequest(object=binding))  # type: ignore[no-any-return]

    async def batch_bind(
        self, bindings: Iterable[pod_pb2.Binding], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]:
        return await self._batch("BatchBind", pod_service_pb2.BatchBindRequest, bindings, timeout_s)

    async def batch_revoke_bind(
        self, revocations: Iterable[pod_service_pb2.PodRevocation], *, timeout_s: float | None = None
    ) -> Sequence[pod_service_pb2.RevocationOutcome]:
        """A fact about each pod, in order; an outcome of state STATE_UNSPECIFIED has a ``status`` and is none."""
        request = pod_service_pb2.BatchRevokeBindRequest(revocations=revocations)
        count, answer = len(request.revocations), pod_service_pb2.BatchRevokeBindResponse
        return await self._batch_call("BatchRevokeBind", request, count, answer, timeout_s)

    async def batch_delete(
        self, items: Iterable[meta_pb2.DeleteRequest], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]:
        """Each as ``delete`` does; ``resource_version`` 0: the pod is gone, else it is terminating."""
        request = pod_service_pb2.BatchDeletePodsRequest(items=items)
        return await self._outcomes("BatchDelete", request, len(request.items), timeout_s)


class CapacityClaimClient(ResourceClient[capacity_pb2.CapacityClaim]):
    """Capacity claims, which are read like any kind, and made and ended in batches only."""

    async def batch_claim(
        self, claims: Iterable[capacity_pb2.CapacityClaim], *, timeout_s: float | None = None
    ) -> Sequence[capacity_pb2.ClaimOutcome]:
        """An outcome per claim, in order: held, promised or refused (``status`` says why). Safe to send again."""
        request = capacity_pb2.BatchClaimRequest(claims=claims)
        count, answer = len(request.claims), capacity_pb2.BatchClaimResponse
        return await self._batch_call("BatchClaim", request, count, answer, timeout_s)

    async def batch_release(
        self, releases: Iterable[capacity_pb2.ClaimRelease], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]:
        """Ends claims, each on an irreversible fact; one that is not there is a success."""
        request = capacity_pb2.BatchReleaseRequest(releases=releases)
        return await self._outcomes("BatchRelease", request, len(request.releases), timeout_s)


class Clientset:
    """Clients of every kind over one channel. ``bulk``: the channel of lists, the same one if not given."""

    def __init__(
        self, channel: grpc.aio.Channel, *, bulk: grpc.aio.Channel | None = None, timeouts: Timeouts | None = None
    ) -> None:
        self._channel = channel
        self._bulk = bulk or channel
        self._timeouts = timeouts or Timeouts()
        self.pods = PodClient(channel, kinds.PODS, bulk=self._bulk, timeouts=self._timeouts)
        self.capacity_claims = CapacityClaimClient(
            channel, kinds.CAPACITY_CLAIMS, bulk=self._bulk, timeouts=self._timeouts
        )
        self._clients: dict[str, ResourceClient[Any]] = {
            kinds.PODS.resource: self.pods,
            kinds.CAPACITY_CLAIMS.resource: self.capacity_claims,
        }

    def resource(self, kind: Kind) -> ResourceClient[Any]:
        """The client of ``kind``, made on first use."""
        client = self._clients.get(kind.resource)
        if client is None:
            client = self._clients[kind.resource] = ResourceClient(
                self._channel, kind, bulk=self._bulk, timeouts=self._timeouts
            )
        return client

    @property
    def nodes(self) -> ResourceClient[node_pb2.Node]:
        return self.resource(kinds.NODES)

    @property
    def namespaces(self) -> ResourceClient[namespace_pb2.Namespace]:
        return self.resource(kinds.NAMESPACES)

    @property
    def events(self) -> ResourceClient[event_pb2.Event]:
        return self.resource(kinds.EVENTS)

    @property
    def leases(self) -> ResourceClient[lease_pb2.Lease]:
        return self.resource(kinds.LEASES)

    @property
    def priority_classes(self) -> ResourceClient[priority_class_pb2.PriorityClass]:
        return self.resource(kinds.PRIORITY_CLASSES)

    @property
    def tenants(self) -> ResourceClient[tenancy_pb2.Tenant]:
        return self.resource(kinds.TENANTS)

    @property
    def tenant_placements(self) -> ResourceClient[tenancy_pb2.TenantPlacement]:
        return self.resource(kinds.TENANT_PLACEMENTS)

    @property
    def tenant_partitions(self) -> ResourceClient[tenancy_pb2.TenantPartition]:
        return self.resource(kinds.TENANT_PARTITIONS)

    @property
    def resource_partitions(self) -> ResourceClient[tenancy_pb2.ResourcePartition]:
        return self.resource(kinds.RESOURCE_PARTITIONS)

    @property
    def services(self) -> ResourceClient[service_pb2.Service]:
        return self.resource(kinds.SERVICES)

    @property
    def pod_disruption_budgets(self) -> ResourceClient[pod_disruption_budget_pb2.PodDisruptionBudget]:
        return self.resource(kinds.POD_DISRUPTION_BUDGETS)

    @property
    def replica_sets(self) -> ResourceClient[replica_set_pb2.ReplicaSet]:
        return self.resource(kinds.REPLICA_SETS)

    @property
    def capacity_ledgers(self) -> ResourceClient[capacity_pb2.CapacityLedger]:
        return self.resource(kinds.CAPACITY_LEDGERS)


def watch_request(
    *,
    tenant: str = "",
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    resource_version: int | None = None,
    send_initial_events: bool | None = None,
    bookmarks: bool = False,
    match: str = "",
    timeout_s: int = 0,
) -> meta_pb2.WatchRequest:
    """A WatchRequest; initial events need match NotOlderThan, which is set when ``match`` is not given.

    ``timeout_s`` 0: as long as the server likes.
    """
    if send_initial_events and not match:
        match = "NotOlderThan"
    return meta_pb2.WatchRequest(
        tenant=tenant,
        namespace=namespace,
        label_selector=label_selector,
        field_selector=field_selector,
        resource_version=resource_version,
        resource_version_match=match,
        send_initial_events=send_initial_events,
        allow_watch_bookmarks=bookmarks,
        timeout_seconds=timeout_s,
    )


def _preconditions(uid: str, resource_version: int) -> meta_pb2.Preconditions | None:
    if not uid and not resource_version:
        return None
    return meta_pb2.Preconditions(uid=uid, resource_version=resource_version)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _identity(data: bytes) -> bytes:
    return data
