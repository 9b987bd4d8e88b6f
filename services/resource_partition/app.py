"""Wiring of a resource partition's server; the only place where its concrete stores are chosen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from services.api.kinds import (
    CAPACITY_CLAIMS,
    CAPACITY_LEDGERS,
    LEASES,
    NAMESPACES,
    NODES,
    RESOURCE_PARTITION,
    TENANT_PARTITIONS,
    Kind,
)
from services.apiserver.admission import Admission
from services.apiserver.bootstrap import Bootstrap
from services.apiserver.content import PartitionContent
from services.apiserver.continuation import ContinueTokens
from services.apiserver.hosting import Host, Work
from services.apiserver.lifecycle import DEFAULT_NAMESPACE, SYSTEM_TENANT, NamespaceLifecycle
from services.apiserver.ownership import PartitionOwnership
from services.apiserver.partition import open_resources, run_partition
from services.apiserver.secrets import SECRET_PREFIX, continue_key, no_attributes
from services.apiserver.servicer import ApiServer, Surroundings
from services.apiserver.writes import Makers
from services.base.clock import Clock
from services.base.ids import IdMaker, random_uid
from services.base.rand import Rand
from services.controllers.garbage import GarbageCollector
from services.controllers.lifecycle import LifecycleController
from services.resource_partition.claimdesks import ClaimDesks
from services.resource_partition.claims import CapacityClaimsServicer
from services.resource_partition.config import Config
from services.resource_partition.ledgerednodes import LedgeredNodes
from services.resource_partition.ledgerfill import LedgerFill
from services.resource_partition.machines import (
    NODE_LEASE_NAMESPACE,
    NodeLeases,
    OneTenant,
    PlacementsElsewhere,
)
from services.rpc.server import Server
from services.storage.etcd import EtcdBackend
from services.storage.memory import MemoryBackend
from services.storage.stores import Stores

Backend = EtcdBackend | MemoryBackend

NAMESPACES_OF_SYSTEM = ("kube-system", NODE_LEASE_NAMESPACE, DEFAULT_NAMESPACE)
IMMORTAL = {SYSTEM_TENANT: frozenset(NAMESPACES_OF_SYSTEM)}


def assemble(config: Config, backend: Backend, *, clock: Clock, rand: Rand, new_uid: IdMaker = random_uid) -> Host:
    """The server over ``backend``, which must be entered before the host runs."""
    stores = Stores(backend, config.watch_cache, clock, rand)
    work: dict[str, Work] = stores.work
    resources = open_resources(
        RESOURCE_PARTITION, stores, uncached=config.watch_cache.off, new_lease=backend.new_lease, clock=clock
    )
    makers = Makers(clock, rand, new_uid)
    nodes, ledgers = resources[NODES.resource], resources[CAPACITY_LEDGERS.resource].store
    ledgered = LedgeredNodes(nodes.store, ledgers, backend, makers.begin)
    resources[NODES.resource] = replace(nodes, store=ledgered)
    desks = ClaimDesks(resources[CAPACITY_CLAIMS.resource].store, ledgers, backend, makers.begin)
    claims = CapacityClaimsServicer(desks)
    admission: list[Admission] = [
        NamespaceLifecycle(resources[NAMESPACES.resource].store, IMMORTAL),
        NodeLeases(resources[LEASES.resource]),
    ]
    if not config.placement_home:
        admission.append(PlacementsElsewhere())
    secrets = backend.store(SECRET_PREFIX, no_attributes)
    tokens = ContinueTokens(config.name, lambda: continue_key(secrets))
    api = ApiServer(
        resources,
        Surroundings(
            partition=config.name,
            gate=OneTenant(),
            admission=tuple(admission),
            tokens=tokens,
            makers=makers,
            overload=config.overload,
        ),
    )
    server = Server(config.listen, tls=config.tls)
    api.register(
        server,
        {
            CAPACITY_CLAIMS.resource: {
                "BatchClaim": api.unary(CAPACITY_CLAIMS, "BATCHCLAIM", claims.batch_claim),
                "BatchRelease": api.unary(CAPACITY_CLAIMS, "BATCHRELEASE", claims.batch_release),
            }
        },
    )
    bootstrap = Bootstrap(api, _first_objects(config), clock, rand)
    fill = LedgerFill(ledgered, ledgers, clock, rand)
    work["bootstrap"] = bootstrap.run
    work["continue-key"] = partial(tokens.load, clock, rand)
    work["claims"] = desks.run
    work["ledgers"] = fill.run
    work["lifecycle"] = LifecycleController(PartitionContent(api), clock, rand).run
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
            "ledgers": fill.done,
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

    await run_partition("resource-partition", config, open_backend, assembled, stopping)


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
