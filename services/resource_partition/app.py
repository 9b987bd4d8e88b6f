"""Wiring of a resource partition's server; the only place where its concrete stores are chosen."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

from services.api import keys
from services.api.kinds import (
    EVENTS,
    KINDS,
    LEASES,
    NAMESPACES,
    RESOURCE_PARTITION,
    TENANT_PARTITIONS,
    Kind,
)
from services.apiserver import options
from services.apiserver.admission import Admission
from services.apiserver.bootstrap import Bootstrap
from services.apiserver.content import PartitionContent
from services.apiserver.continuation import ContinueTokens
from services.apiserver.hosting import Host, Work
from services.apiserver.leases import LeaseBuckets
from services.apiserver.lifecycle import DEFAULT_NAMESPACE, SYSTEM_TENANT, NamespaceLifecycle
from services.apiserver.ownership import PartitionOwnership
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
from services.resource_partition.config import Config
from services.resource_partition.machines import (
    NODE_LEASE_NAMESPACE,
    NodeLeases,
    OneTenant,
    PlacementsElsewhere,
)
from services.rpc.server import Server
from services.storage.etcd import EtcdBackend
from services.storage.memory import MemoryBackend
from services.storage.watchcache import CachedStore

Backend = EtcdBackend | MemoryBackend

NAMESPACES_OF_SYSTEM = ("kube-system", NODE_LEASE_NAMESPACE, DEFAULT_NAMESPACE)
IMMORTAL = {SYSTEM_TENANT: frozenset(NAMESPACES_OF_SYSTEM)}


def assemble(config: Config, backend: Backend, *, clock: Clock, rand: Rand, new_uid: IdMaker = random_uid) -> Host:
    """The server over ``backend``, which must be entered before the host runs."""
    work: dict[str, Work] = {}
    resources = _resources(config, backend, clock, rand, work)
    admission: list[Admission] = [
        NamespaceLifecycle(resources[NAMESPACES.resource].store, IMMORTAL),
        NodeLeases(resources[LEASES.resource]),
    ]
    if not config.placement_home:
        admission.append(PlacementsElsewhere())
    secrets = backend.store(SECRET_PREFIX, no_attributes)
    api = ApiServer(
        resources,
        Surroundings(
            partition=config.name,
            gate=OneTenant(),
            admission=tuple(admission),
            tokens=ContinueTokens(config.name, lambda: continue_key(secrets)),
            makers=Makers(clock, rand, new_uid),
            overload=config.overload,
        ),
    )
    server = Server(config.listen, tls=config.tls)
    api.register(server)
    bootstrap = Bootstrap(api, _first_objects(config), clock, rand)
    work["bootstrap"] = bootstrap.run
    work["lifecycle"] = LifecycleController(PartitionContent(api), clock, rand).run
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
    running = telemetry.start(config.telemetry, service="resource-partition", partition=config.name)
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
        if not kind.served_by(RESOURCE_PARTITION):
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


def _first_objects(config: Config) -> list[tuple[Kind, Any]]:
    found: list[tuple[Kind, Any]] = []
    for name in NAMESPACES_OF_SYSTEM:
        namespace: Any = NAMESPACES.message()
        namespace.metadata.tenant = SYSTEM_TENANT
        namespace.metadata.name = name
        found.append((NAMESPACES, namespace))
    for link in config.tenant_partitions:
        partition: Any = TENANT_PARTITIONS.message()
        partition.metadata.name = link.name
        partition.spec.endpoints.extend(link.endpoints)
        found.append((TENANT_PARTITIONS, partition))
    return found
