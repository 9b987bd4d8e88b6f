"""From a pool of the configuration to its nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.timers import Timers
from services.kubelet import nodestatus, process
from services.kubelet.config import DEFAULT_CAPACITY, KubeletConfig, Pool
from services.kubelet.contact import Contact
from services.kubelet.hollow import Behaviour, HollowRuntime
from services.kubelet.nodekeeper import NodeEntry
from services.kubelet.nodestatus import NodeTemplate
from services.kubelet.podstatus import NodeFacts
from services.kubelet.runtime import ContainerRuntime, Listener, Runtime
from services.placement import nodes


def runtime_of(
    config: KubeletConfig, clock: Clock, rand: Rand, pool: Pool, timers: Timers, listener: Listener
) -> Runtime | ContainerRuntime:
    """The runtime under the nodes of ``pool``."""
    if pool.runtime == "process":
        return process.make(pool, config.serving_address, timers, listener)
    behaviour = Behaviour(pool.starting, pool.stopping, pool.pod_failure_rate)
    return HollowRuntime(timers, clock, rand, listener, behaviour)


class PoolNodes(NamedTuple):
    """``allocatable`` is in canonical units, the same for all; ``entries`` and ``facts`` one per node, in order."""

    allocatable: Mapping[str, int]
    entries: list[NodeEntry]
    facts: list[NodeFacts]


def nodes_of(
    pool: Pool, host: str, runtime: Runtime | ContainerRuntime, *, lease_s: float, address: str = "", port: int = 0
) -> PoolNodes:
    """The nodes of ``pool`` on the host of that name, whose own services are at ``address`` and ``port``. ``lease_s``:
    how long their leases last."""
    machine = os.uname()
    real = {} if pool.runtime == "hollow" else {"kernel": machine.release, "os_image": f"{machine.sysname} (processes)"}
    partition = pool.resource_partition
    capacity = pool.capacity or (DEFAULT_CAPACITY if pool.runtime == "hollow" else process.capacity())
    template = NodeTemplate(
        resource_partition=partition,
        host=host,
        labels=pool.labels,
        capacity=capacity,
        allocatable=pool.allocatable or capacity,
        runtime=runtime.name,
        runtime_version=runtime.version,
        address=address,
        port=port,
        **real,
    )
    probe = Node()
    probe.status.allocatable.update(template.allocatable)
    names = pool.names
    zones = pool.zones or ("",)
    return PoolNodes(
        nodes.allocatable(probe),
        [NodeEntry(name, zones[number % len(zones)], template, Contact(lease_s)) for number, name in enumerate(names)],
        [NodeFacts(name, partition, address or nodestatus.host_ip(partition, name), runtime.name) for name in names],
    )
