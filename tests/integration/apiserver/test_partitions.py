"""What makes two servers two partitions: placement, protection, discovery, health."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.api import kinds
from tests.integration.apiserver.world import (
    Partition,
    World,
    eventually,
    named,
    pod,
    port,
    refused,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess, running_etcd

pytestmark = pytest.mark.etcd


@contextlib.asynccontextmanager
async def second_partition(world: World) -> AsyncIterator[Partition]:
    """tp-2, over an etcd of its own."""
    with running_etcd(client_port=port(), peer_port=port()) as etcd:
        async with running(tenant_partition_config(etcd.endpoint, port(), world.rp.endpoint, "tp-2")) as partition:
            yield partition


async def test_a_tenant_lives_on_one_partition_and_the_other_names_it(world: World, acme: str) -> None:
    where = named(kinds.TENANT_PARTITIONS, "tp-1")
    where.spec.endpoints.append(world.tp.endpoint)
    directory = world.rp.clients.tenant_partitions
    try:
        await directory.create(where)
    except Exception:
        await directory.update(where)
    async with second_partition(world) as other:
        for call in (
            lambda: other.clients.tenants.create(named(kinds.TENANTS, acme)),
            lambda: other.clients.pods.create(pod(acme)),
            lambda: other.clients.pods.list(tenant=acme),
            lambda: other.clients.pods.get("web", tenant=acme, namespace="default"),
            lambda: anext(other.clients.pods.watch(tenant=acme)),
        ):

            async def names_the_endpoint(call: Any = call) -> Any:
                error = await refused(call())
                assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WrongPartition")
                assert (error.metadata["tenant"], error.metadata["partition"]) == (acme, "tp-1")
                return error.metadata["endpoint"] == world.tp.endpoint

            await eventually(names_the_endpoint)
        assert (await refused(other.clients.tenants.get(acme))).reason == "NotFound"
    placement = await world.rp.clients.tenant_placements.get(acme)
    assert placement.spec.tenant_partition == "tp-1"


async def test_a_new_tenant_has_a_default_namespace(world: World, acme: str) -> None:
    found = await world.tp.clients.namespaces.list(tenant=acme)
    assert [item.metadata.name for item in found.items] == ["default"]


async def test_without_the_placement_home_tenants_work_and_none_is_created(tenant_etcd: EtcdProcess) -> None:
    config = tenant_partition_config(tenant_etcd.endpoint, port(), f"127.0.0.1:{port()}")
    async with running(config) as alone:
        error = await refused(alone.clients.tenants.create(named(kinds.TENANTS, "latecomer")))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.retry_after_s is not None
        assert "rp-1" in error.message
        assert (await alone.clients.namespaces.list(tenant="system")).items
        assert (await refused(alone.clients.tenants.get("latecomer"))).reason == "NotFound"


async def test_a_partition_bootstraps_what_it_must_hold(world: World) -> None:
    found = await world.tp.clients.resource_partitions.get("rp-1")
    assert (list(found.spec.endpoints), found.spec.placement_home) == ([world.rp.endpoint], True)
    names = {item.metadata.name for item in (await world.tp.clients.namespaces.list(tenant="system")).items}
    assert {"kube-system", "kube-node-lease"} <= names
    names = {item.metadata.name for item in (await world.rp.clients.namespaces.list(tenant="system")).items}
    assert {"kube-system", "kube-node-lease"} <= names


@pytest.mark.parametrize("name", ["kube-node-lease", "kube-system"])
async def test_system_namespaces_cannot_be_deleted(world: World, name: str) -> None:
    for partition in (world.rp, world.tp):
        error = await refused(partition.clients.namespaces.delete(name, tenant="system"))
        assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "Forbidden")
        error = await refused(partition.clients.namespaces.delete_collection(tenant="system"))
        assert error.reason == "Forbidden"
        found = await partition.clients.namespaces.get(name, tenant="system")
        assert not found.metadata.HasField("deletion_timestamp")


async def test_the_system_tenant_and_default_namespaces_stay(world: World, acme: str) -> None:
    assert (await refused(world.tp.clients.tenants.delete("system"))).reason == "Forbidden"
    assert (await refused(world.tp.clients.namespaces.delete("default", tenant=acme))).reason == "Forbidden"


async def test_a_resource_partition_knows_the_system_tenant_only(world: World) -> None:
    lease = named(kinds.LEASES, "n1", tenant="acme", namespace="kube-node-lease")
    error = await refused(world.rp.clients.leases.create(lease))
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert "acme" in error.message


async def test_a_nodes_lease_goes_with_it(world: World) -> None:
    nodes, leases = world.rp.clients.nodes, world.rp.clients.leases
    place = {"tenant": "system", "namespace": "kube-node-lease"}
    node = await nodes.create(named(kinds.NODES, "n1"))
    for name in ("n1", "n2"):
        lease = named(kinds.LEASES, name, **place)
        owner = lease.metadata.owner_references.add(api_version="v1", kind="Node", name="n1", uid=node.metadata.uid)
        assert owner.uid
        await leases.create(lease)
    await nodes.delete("n1")
    assert (await refused(leases.get("n1", **place))).reason == "NotFound"
    assert await leases.get("n2", **place)
    await leases.delete("n2", **place)


async def test_the_lease_of_a_nodes_successor_stays(world: World) -> None:
    nodes, leases = world.rp.clients.nodes, world.rp.clients.leases
    place = {"tenant": "system", "namespace": "kube-node-lease"}
    await nodes.create(named(kinds.NODES, "n9"))
    lease = named(kinds.LEASES, "n9", **place)
    lease.metadata.owner_references.add(
        api_version="v1", kind="Node", name="n9", uid="00000000-0000-4000-8000-000000000000"
    )
    await leases.create(lease)
    await nodes.delete("n9")
    assert await leases.get("n9", **place)
    await leases.delete("n9", **place)


async def test_placements_are_made_in_their_home_only(resource_etcd: EtcdProcess) -> None:
    config = resource_partition_config(resource_etcd.endpoint, port(), "rp-2", placement_home=False)
    async with running(config) as partition:
        placement = named(kinds.TENANT_PLACEMENTS, "acme")
        placement.spec.tenant_partition = "tp-1"
        error = await refused(partition.clients.tenant_placements.create(placement))
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NotPlacementHome")


async def test_reflection_lists_every_service(world: World) -> None:
    for partition, side in ((world.tp, "tenant"), (world.rp, "resource")):
        stub = reflection_pb2_grpc.ServerReflectionStub(partition.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
        names = {service.name for service in answers[0].list_services_response.service}
        expected = {kind.service for kind in kinds.KINDS.values() if kind.served_by(side)}
        assert names >= expected | {"ursa.watch.v1.WatchService", "grpc.health.v1.Health"}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_describes_a_service_in_both_versions(world: World, version: str) -> None:
    method = world.tp.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="ursa.core.v1.Pods")
    answers = [answer async for answer in method(iter([request]))]
    assert answers[0].file_descriptor_response.file_descriptor_proto


async def test_health_is_told_for_the_whole_and_each_service(world: World) -> None:
    stub = health_pb2_grpc.HealthStub(world.tp.channel)
    for service in ("", "ursa.core.v1.Pods", "ursa.watch.v1.WatchService"):

        async def serving(service: str = service) -> bool:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        assert await eventually(serving)
