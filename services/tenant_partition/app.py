"""Wiring of a tenant partition's server; the only place where its concrete stores are chosen."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

from services.api import keys
from services.api.kinds import (
    EVENTS,
    KINDS,
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
from services.apiserver.hosting import Host, Work
from services.apiserver.leases import LeaseBuckets
from services.apiserver.lifecycle import DEFAULT_NAMESPACE, SYSTEM_TENANT, NamespaceLifecycle
from services.apiserver.ownership import PartitionOwnership
from services.apiserver.pods import PodPlacement, PodPriority
from services.apiserver.resource import Resource
from services.apiserver.secrets import SECRET_PREFIX, continue_key, no_attributes
from services.apiserver.servicer import ApiServer, Surroundings
from services.apiserver.writes import Makers
from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.controllers.garbage import GarbageCollector
from services.controllers.lifecycle import LifecycleController
from services.rpc.server import Server
from services.storage.etcd import EtcdBackend
from services.storage.memory import MemoryBackend
from services.storage.watchcache import CachedStore
from services.tenant_partition.binding import Binder
from services.tenant_partition.config import Config
from services.tenant_partition.placements import NoHome, PlacementHome, Placements
from services.tenant_partition.tenancy import TenantAdmission, TenantLifecycle, TenantRegistry

Backend = EtcdBackend | MemoryBackend

SYSTEM_NAMESPACES = ("kube-system", "kube-node-lease")
IMMORTAL = {"*": frozenset({DEFAULT_NAMESPACE}), SYSTEM_TENANT: frozenset(SYSTEM_NAMESPACES)}


def assemble(config: Config, backend: Backend, *, clock: Clock, rand: Rand, new_uid: IdMaker = random_uid) -> Host:
    """The server over ``backend``, which must be entered before the host runs."""
    work: dict[str, Work] = {}
    resources = _resources(config, backend, clock, rand, work)
    placements = _placements(config, clock, rand, work)
    makers = Makers(clock, rand, new_uid)
    stores = {name: resource.store for name, resource in resources.items()}
    gate = TenantRegistry(stores[TENANTS.resource], placements, config.name)
    tenant_admission = TenantAdmission(placements, config.name)
    secrets = backend.store(SECRET_PREFIX, no_attributes)
    surroundings = Surroundings(
        partition=config.name,
        gate=gate,
        admission=(
            tenant_admission,
            TenantLifecycle(stores[TENANTS.resource]),
            NamespaceLifecycle(stores[NAMESPACES.resource], IMMORTAL),
            PodPriority(
                stores[PRIORITY_CLASSES.resource], counted=options.cached(PRIORITY_CLASSES, config.watch_cache.off)
            ),
            PodPlacement(),
        ),
        tokens=ContinueTokens(config.name, lambda: continue_key(secrets)),
        makers=makers,
        overload=config.overload,
        traced=bool(config.telemetry.otlp_endpoint) and config.telemetry.sample_ratio > 0,
    )
    api = ApiServer(resources, surroundings)
    content = PartitionContent(api, placements.release)
    tenant_admission.content = content
    binder = Binder(resources[PODS.resource], api.writes[PODS.resource], gate, makers)
    server = Server(config.listen, tls=config.tls)
    api.register(
        server,
        {
            PODS.resource: {
                "Bind": api.unary(PODS, "BIND", binder.bind),
                "BatchBind": api.unary(PODS, "BATCHBIND", binder.batch_bind),
            }
        },
    )
    bootstrap = Bootstrap(api, _first_objects(config), clock, rand)
    work["bootstrap"] = bootstrap.run
    work["lifecycle"] = LifecycleController(content, clock, rand).run
    work["garbage"] = GarbageCollector(PartitionOwnership(api, clock), clock, rand).run
    return Host(
        api=api,
        server=server,
        metrics_listen=config.telemetry.metrics_listen,
        checks=lambda: {"store": backend.ready, **api.ready, "bootstrap": bootstrap.done},
        work=work,
        clock=clock,
    )


async def run(config: Config, stopping: asyncio.Event) -> None:
    """The process: until ``stopping`` is set."""
    clock, rand = SystemClock(), Rand()
    running = telemetry.start(config.telemetry, service="tenant-partition", partition=config.name)
    try:
        # Long-lived objects are many and the collector looks at all of them: rarer, and at what was loaded never.
        gc.set_threshold(100_000, 50, 100)
        period_s = config.watch_cache.bookmark_period_s
        backend = EtcdBackend(config.etcd, clock=clock, rand=rand, bookmark_period_s=period_s)
        async with backend:
            host = assemble(config, backend, clock=clock, rand=rand)
            host.on_first_ready = gc.freeze
            await host.run(stopping)
    finally:
        running.shutdown()


def _resources(
    config: Config, backend: Backend, clock: Clock, rand: Rand, work: dict[str, Work]
) -> Mapping[str, Resource]:
    events = LeaseBuckets(backend.new_lease, clock)
    found: dict[str, Resource] = {}
    for name, kind in KINDS.items():
        if not kind.served_by(TENANT_PARTITION):
            continue
        store = backend.store(keys.prefix(kind), kind.attributes)
        if not options.cached(kind, config.watch_cache.off):
            found[name] = Resource(kind, store, lease=events.lease_id if kind is EVENTS else None)
            continue
        cached = CachedStore(
            store,
            prefix=keys.prefix(kind),
            attributes_of=kind.attributes,
            index=kind.index,
            clock=clock,
            rand=rand,
            window=config.watch_cache.windows.get(name),
            bookmark_period_s=config.watch_cache.bookmark_period_s,
        )
        work[f"watch-cache-{name}"] = cached.run
        found[name] = Resource(kind, cached)
    return found


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
