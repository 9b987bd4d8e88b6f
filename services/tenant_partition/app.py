"""Wiring of a tenant partition's server; the only place where its concrete stores are chosen."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from services.api.kinds import (
    NAMESPACES,
    PODS,
    PRIORITY_CLASSES,
    RESOURCE_PARTITIONS,
    TENANT_PARTITION,
    TENANTS,
    Kind,
)
from services.apiserver import options
from services.apiserver.bootstrap import Bootstrap
from services.apiserver.content import PartitionContent
from services.apiserver.continuation import ContinueTokens
from services.apiserver.disruptions import PartitionDisruptions
from services.apiserver.hosting import Host, Work
from services.apiserver.lifecycle import DEFAULT_NAMESPACE, SYSTEM_TENANT, NamespaceLifecycle
from services.apiserver.ownership import PartitionOwnership
from services.apiserver.partition import open_resources, run_partition
from services.apiserver.pods import PodPlacement, PodPriority
from services.apiserver.secrets import SECRET_PREFIX, continue_key, no_attributes
from services.apiserver.servicer import ApiServer, Surroundings
from services.apiserver.writes import Makers
from services.base.clock import Clock
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.controllers.disruption import DisruptionController
from services.controllers.garbage import GarbageCollector
from services.controllers.lifecycle import LifecycleController
from services.rpc.server import Server
from services.storage.etcd import EtcdBackend
from services.storage.memory import MemoryBackend
from services.storage.stores import Stores
from services.tenant_partition.binding import Binder
from services.tenant_partition.config import Config
from services.tenant_partition.placements import NoHome, PlacementHome, Placements
from services.tenant_partition.removal import Remover
from services.tenant_partition.revocation import Revoker
from services.tenant_partition.tenancy import TenantAdmission, TenantLifecycle, TenantRegistry

Backend = EtcdBackend | MemoryBackend

SYSTEM_NAMESPACES = ("kube-system", "kube-node-lease")
IMMORTAL = {"*": frozenset({DEFAULT_NAMESPACE}), SYSTEM_TENANT: frozenset(SYSTEM_NAMESPACES)}


def assemble(config: Config, backend: Backend, *, clock: Clock, rand: Rand, new_uid: IdMaker = random_uid) -> Host:
    """The server over ``backend``, which must be entered before the host runs."""
    stores = Stores(backend, config.watch_cache, clock, rand)
    work: dict[str, Work] = stores.work
    resources = open_resources(
        TENANT_PARTITION, stores, uncached=config.watch_cache.off, new_lease=backend.new_lease, clock=clock
    )
    placements = _placements(config, clock, rand, work)
    makers = Makers(clock, rand, new_uid)
    tenants, namespaces = resources[TENANTS.resource].store, resources[NAMESPACES.resource].store
    gate = TenantRegistry(tenants, placements, config.name)
    tenant_admission = TenantAdmission(placements, config.name)
    secrets = backend.store(SECRET_PREFIX, no_attributes)
    tokens = ContinueTokens(config.name, lambda: continue_key(secrets))
    surroundings = Surroundings(
        partition=config.name,
        gate=gate,
        admission=(
            tenant_admission,
            TenantLifecycle(tenants),
            NamespaceLifecycle(namespaces, IMMORTAL),
            PodPriority(
                resources[PRIORITY_CLASSES.resource].store,
                counted=options.cached(PRIORITY_CLASSES, config.watch_cache.off),
            ),
            PodPlacement(),
        ),
        tokens=tokens,
        makers=makers,
        overload=config.overload,
        traced=bool(config.telemetry.otlp_endpoint) and config.telemetry.sample_ratio > 0,
    )
    api = ApiServer(resources, surroundings)
    content = PartitionContent(api, placements.release)
    tenant_admission.content = content
    binder = Binder(resources[PODS.resource], api.writes[PODS.resource], gate, makers)
    revoker = Revoker(resources[PODS.resource], gate)
    remover = Remover(api.writes[PODS.resource], gate)
    server = Server(config.listen, tls=config.tls)
    api.register(
        server,
        {
            PODS.resource: {
                "Bind": api.unary(PODS, "BIND", binder.bind),
                "BatchBind": api.unary(PODS, "BATCHBIND", binder.batch_bind),
                "BatchRevokeBind": api.unary(PODS, "BATCHREVOKEBIND", revoker.batch_revoke_bind),
                "BatchDelete": api.unary(PODS, "BATCHDELETE", remover.batch_delete),
            }
        },
    )
    bootstrap = Bootstrap(api, _first_objects(config), clock, rand)
    work["bootstrap"] = bootstrap.run
    work["continue-key"] = partial(tokens.load, clock, rand)
    work["lifecycle"] = LifecycleController(content, clock, rand).run
    work["disruption"] = DisruptionController(PartitionDisruptions(api), clock, rand).run
    work["garbage"] = GarbageCollector(PartitionOwnership(api, clock), clock, rand).run
    return Host(
        api=api,
        server=server,
        metrics_listen=config.telemetry.metrics_listen,
        checks=lambda: {
            "store": backend.ready,
            **api.ready,
            "bootstrap": bootstrap.done,
            "continue-key": tokens.loaded,
        },
        work=work,
        clock=clock,
    )


async def run(config: Config, stopping: asyncio.Event) -> None:
    """The process: until ``stopping`` is set."""

    def open_backend(clock: Clock, rand: Rand) -> EtcdBackend:
        return EtcdBackend(config.etcd, clock=clock, rand=rand, bookmark_period_s=config.watch_cache.bookmark_period_s)

    def assembled(backend: EtcdBackend, clock: Clock, rand: Rand) -> Host:
        return assemble(config, backend, clock=clock, rand=rand)

    await run_partition("tenant-partition", config, open_backend, assembled, stopping)


def _placements(config: Config, clock: Clock, rand: Rand, work: dict[str, Work]) -> Placements:
    home = config.placement_home
    if home is None:
        return NoHome()
    placements = PlacementHome(config.name, home.name, home.endpoints, clock, rand, tls=config.tls)
    work["placements"] = placements.run
    return placements


def _first_objects(config: Config) -> list[tuple[Kind, Any]]:
    found: list[tuple[Kind, Any]] = []
    tenant: Any = TENANTS.message()
    tenant.metadata.name = SYSTEM_TENANT
    tenant.spec.description = "the cluster's own objects"
    found.append((TENANTS, tenant))
    for name in SYSTEM_NAMESPACES:
        namespace: Any = NAMESPACES.message()
        namespace.metadata.tenant = SYSTEM_TENANT
        namespace.metadata.name = name
        found.append((NAMESPACES, namespace))
    for link in config.resource_partitions:
        partition: Any = RESOURCE_PARTITIONS.message()
        partition.metadata.name = link.name
        partition.spec.endpoints.extend(link.endpoints)
        partition.spec.placement_home = link.placement_home
        found.append((RESOURCE_PARTITIONS, partition))
    return found
