"""``ursa create tenant`` and ``create namespace``: objects that need only a name."""

from __future__ import annotations

from typing import Any

import grpc

from services.api import kinds, manifests
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.pb.ursa.tenancy.v1 import tenancy_pb2
from services.cli import output
from services.cli.cluster import Cluster, explain
from services.cli.context import Partition
from services.cli.items import Item
from services.cli.output import Format
from services.cli.streams import Streams
from services.cli.verbs.scope import Where
from services.client.clientset import Clientset
from services.rpc.status import StatusError


async def tenant(
    cluster: Cluster, name: str, description: str, dry_run: str, format: Format | None, streams: Streams
) -> int:
    """Make a tenant on its partition: the one asked for, else by rendezvous over all. Raises ``CliError``."""
    obj = manifests.from_dict(
        {
            "apiVersion": kinds.TENANTS.api_version,
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": {"description": description} if description else {},
        }
    ).object
    partition = await cluster.place_for_new(name)
    item = await _create(cluster, kinds.TENANTS, obj, partition, dry_run)
    _say(item, f"{item.title} created on {item.partition.name}", dry_run, format, streams)
    return 0


async def namespace(
    cluster: Cluster, name: str, where: Where, dry_run: str, format: Format | None, streams: Streams
) -> int:
    """Make a namespace of a tenant. Raises ``CliError``."""
    owner = await where.tenant_for(kinds.NAMESPACES, cluster, many=False)
    metadata = {"name": name, "tenant": owner}
    obj = manifests.from_dict({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).object
    item = await _create(cluster, kinds.NAMESPACES, obj, await cluster.place_of(owner), dry_run)
    _say(item, f"{item.title} created", dry_run, format, streams)
    return 0


async def ensure_tenant(cluster: Cluster, name: str, partition: Partition) -> None:
    """Make ``name`` on ``partition`` unless it exists, wherever it is."""
    try:
        placement = await cluster.clients(cluster.context.home).tenant_placements.get(name)
        partition = cluster.context.partition(placement.spec.tenant_partition)
    except StatusError as failure:
        if failure.code is not grpc.StatusCode.NOT_FOUND:
            raise explain(failure, partition=cluster.context.home) from failure
    obj = tenancy_pb2.Tenant(metadata=meta_pb2.ObjectMeta(name=name))
    try:
        await cluster.clients(partition).tenants.create(obj)
    except StatusError as failure:
        if failure.code is not grpc.StatusCode.ALREADY_EXISTS:
            raise explain(failure, partition=partition) from failure


async def _create(cluster: Cluster, kind: kinds.Kind, obj: Any, partition: Partition, dry_run: str) -> Item:
    if dry_run == "client":
        return Item(kind, obj, partition)

    async def one(clients: Clientset) -> Any:
        return await clients.resource(kind).create(obj, dry_run=dry_run == "server")

    try:
        at, made = await cluster.following(partition, one)
    except StatusError as failure:
        raise explain(failure, partition=partition) from failure
    return Item(kind, made, at)


def _say(item: Item, text: str, dry_run: str, format: Format | None, streams: Streams) -> None:
    match format:
        case Format.JSON:
            streams.out(output.as_json(output.document(item)))
        case Format.YAML:
            streams.out(output.as_yaml(output.document(item)))
        case Format.NAME:
            streams.out(item.title)
        case _:
            dry = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[dry_run]
            streams.out(f"{text}{dry}")
