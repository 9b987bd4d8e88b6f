"""Sending the objects of files: ``ursa apply`` (make or merge) and ``ursa create -f`` (make only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec

from services.api import kinds, manifests
from services.api.kinds import Kind, Scope
from services.cli import output, threeway
from services.cli.cluster import Cluster, explain
from services.cli.context import Partition
from services.cli.errors import CliError, Refused
from services.cli.files import Document
from services.cli.items import Item
from services.cli.output import Format
from services.cli.streams import Streams
from services.cli.verbs.scope import Where
from services.client.clientset import Clientset
from services.rpc.status import StatusError

OBJECT_BYTES_MAX = 1 << 20
# What others need comes first, whatever the order in the files.
FIRST = (kinds.TENANTS, kinds.NAMESPACES, kinds.PRIORITY_CLASSES)


@dataclass(frozen=True)
class Request:
    """``merge``: an object that exists is changed (apply); without it, that is an error (create)."""

    documents: Sequence[Document]
    where: Where
    merge: bool
    dry_run: str = "none"
    format: Format | None = None


@dataclass(frozen=True)
class Done:
    """What became of one object: created, configured or unchanged."""

    item: Item
    verb: str


async def submit(cluster: Cluster, request: Request, streams: Streams) -> int:
    """Send every object, in order, going on after a refusal; the exit code.

    Raises ``CliError``, with nothing sent, for what can be seen beforehand: no tenant chosen, an unknown tenant, an
    object that contradicts the command line or is too large.
    """
    try:
        prepared = [await _prepare(cluster, document, request) for document in ordered(request.documents)]
    except StatusError as failure:
        raise explain(failure) from failure
    failures: list[CliError] = []
    done: list[Done] = []
    for one in prepared:
        try:
            result = await _send(cluster, one, request)
        except StatusError as failure:
            failures.append(_named(one.document, explain(failure, partition=one.partition)))
            continue
        done.append(result)
        if request.format in (None, Format.NAME):
            _say(result, request, streams)
    if request.format in (Format.JSON, Format.YAML) and done:
        write = output.as_json if request.format is Format.JSON else output.as_yaml
        items = [one.item for one in done]
        streams.out(write(output.document(items[0]) if len(items) == 1 else output.listing(items)))
    return streams.fail(failures)


def ordered(documents: Sequence[Document]) -> list[Document]:
    """Tenants, namespaces and priority classes before what refers to them; otherwise as written."""
    rank = {kind.resource: position for position, kind in enumerate(FIRST)}
    return sorted(documents, key=lambda document: rank.get(document.manifest.kind.resource, len(FIRST)))


def _named(document: Document, failure: CliError) -> CliError:
    failure.message = f"{document.place} ({_title(document)}): {failure.message}"
    return failure


def _title(document: Document) -> str:
    metadata = document.manifest.object.metadata
    return f"{document.manifest.kind.singular}/{metadata.name or metadata.generate_name + '*'}"


def _say(done: Done, request: Request, streams: Streams) -> None:
    dry = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[request.dry_run]
    streams.out(done.item.title if request.format is Format.NAME else f"{done.item.title} {done.verb}{dry}")
    streams.flush()


@dataclass(frozen=True)
class _Prepared:
    """``object`` is complete and goes to ``partition``; ``wanted`` is what the file says, in JSON form."""

    document: Document
    object: Any
    wanted: dict[str, Any]
    partition: Partition


async def _prepare(cluster: Cluster, document: Document, request: Request) -> _Prepared:
    kind, obj = document.manifest.kind, kind_message(document)
    await _place(cluster, document, obj, request.where)
    if request.merge and not obj.metadata.name:
        raise _named(document, Refused("apply needs metadata.name", hint="use `ursa create -f` with generateName"))
    wanted = manifests.to_dict(kind, obj)
    if request.merge:
        obj = manifests.from_dict(threeway.annotated(wanted)).object
    size = obj.ByteSize()
    if size > OBJECT_BYTES_MAX:
        hint = "apply keeps a copy of the file in an annotation; `ursa create -f` does not" if request.merge else ""
        message = f"the object is {size} bytes; at most {OBJECT_BYTES_MAX} are allowed"
        raise _named(document, Refused(message, hint=hint))
    return _Prepared(document, obj, wanted, await _partition(cluster, kind, obj, request.documents))


async def _send(cluster: Cluster, one: _Prepared, request: Request) -> Done:
    sender = _Sender(cluster, one.document.manifest.kind, one.partition, request.dry_run)
    if request.merge:
        return await sender.apply(one.object, one.wanted)
    return await sender.create(one.object)


def kind_message(document: Document) -> Any:
    """A copy to complete: the manifest itself stays as it was read."""
    copy = document.manifest.kind.message()
    copy.CopyFrom(document.manifest.object)
    return copy


async def _place(cluster: Cluster, document: Document, obj: Any, where: Where) -> None:
    """Fill in tenant and namespace. Raises ``CliError`` where file and command line contradict each other."""
    kind, metadata = document.manifest.kind, obj.metadata
    if kind.scope is not Scope.CLUSTER:
        if not metadata.tenant:
            metadata.tenant = await where.tenant_for(kind, cluster, many=False)
        elif where.tenant and metadata.tenant != where.tenant:
            message = f'the object is of tenant "{metadata.tenant}", the command says "{where.tenant}"'
            raise _named(document, Refused(message, hint="leave one of them out"))
    if kind.scope is Scope.NAMESPACED:
        if not metadata.namespace:
            metadata.namespace = where.namespace_for(kind, many=False)
        elif where.namespace and metadata.namespace != where.namespace:
            message = f'the object is of namespace "{metadata.namespace}", the command says "{where.namespace}"'
            raise _named(document, Refused(message, hint="leave one of them out"))


async def _partition(cluster: Cluster, kind: Kind, obj: Any, documents: Sequence[Document]) -> Partition:
    if kind is kinds.TENANTS:
        return await cluster.place_for_new(obj.metadata.name)
    if any(
        one.manifest.kind is kinds.TENANTS and one.manifest.object.metadata.name == obj.metadata.tenant
        for one in documents
    ):
        return await cluster.place_for_new(obj.metadata.tenant)
    targets = await cluster.targets(kind, obj.metadata.tenant)
    if len(targets) == 1:
        return targets[0]
    names = ", ".join(partition.name for partition in targets)
    raise Refused(f"{kind.singular}/{obj.metadata.name} could go to {names}", hint="choose one with --partition")


class _Sender:
    """One object of one kind on its way to its partition."""

    def __init__(self, cluster: Cluster, kind: Kind, partition: Partition, dry_run: str) -> None:
        self._cluster = cluster
        self._kind = kind
        self._partition = partition
        self._client_only = dry_run == "client"
        self._dry_run = dry_run == "server"

    async def create(self, obj: Any) -> Done:
        if self._client_only:
            return Done(Item(self._kind, obj, self._partition), "created")
        at, made = await self._ask(lambda client: client.create(obj, dry_run=self._dry_run))
        return Done(Item(self._kind, made, at), "created")

    async def apply(self, obj: Any, wanted: dict[str, Any]) -> Done:
        """Create it, or bring what is there to what the file says. A create that loses the race is merged."""
        metadata = obj.metadata
        try:
            at, live = await self._ask(
                lambda client: client.get(metadata.name, tenant=metadata.tenant, namespace=metadata.namespace)
            )
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
            return await self._create_or_merge(obj, wanted)
        return await self._merge(at, live, wanted)

    async def _create_or_merge(self, obj: Any, wanted: dict[str, Any]) -> Done:
        try:
            return await self.create(obj)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        metadata = obj.metadata
        at, live = await self._ask(
            lambda client: client.get(metadata.name, tenant=metadata.tenant, namespace=metadata.namespace)
        )
        return await self._merge(at, live, wanted)

    async def _merge(self, at: Partition, live: Any, wanted: dict[str, Any]) -> Done:
        now = manifests.to_dict(self._kind, live)
        changes = threeway.changes(now, wanted)
        if not changes or self._client_only:
            return Done(Item(self._kind, live, at), "configured" if changes else "unchanged")
        metadata = live.metadata
        _, changed = await self._ask(
            lambda client: client.patch(
                metadata.name,
                msgspec.json.encode(changes).decode(),
                tenant=metadata.tenant,
                namespace=metadata.namespace,
                uid=metadata.uid,
                dry_run=self._dry_run,
            )
        )
        same = changed.metadata.resource_version == live.metadata.resource_version and not self._dry_run
        return Done(Item(self._kind, changed, at), "unchanged" if same else "configured")

    async def _ask(self, call: Any) -> tuple[Partition, Any]:
        kind = self._kind

        async def one(clients: Clientset) -> Any:
            return await call(clients.resource(kind))

        return await self._cluster.following(self._partition, one)
