"""Leaving for good: the nodes of a host are deleted, their leases with them."""

from __future__ import annotations

import asyncio
import logging

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Timeouts
from services.client.partitions import Connection
from services.kubelet.config import KubeletConfig
from services.kubelet.nodestatus import HOST_LABEL
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

TRIES = 4
TIMEOUT_S = 60.0


async def delete_nodes(config: KubeletConfig, clock: Clock, rand: Rand) -> int:
    """Delete every node that carries the host's label, in all its resource partitions; how many there were.

    A partition that cannot be reached is tried a few times and then left as it is: its nodes become NotReady.
    """
    partitions = {pool.resource_partition: pool.endpoints for pool in config.pools}
    counts = await asyncio.gather(
        *(_delete(name, endpoints, config, clock, rand) for name, endpoints in partitions.items())
    )
    return sum(counts)


async def _delete(name: str, endpoints: tuple[str, ...], config: KubeletConfig, clock: Clock, rand: Rand) -> int:
    connection = Connection(name, endpoints, clock, rand, tls=config.tls, timeouts=Timeouts(unary_s=TIMEOUT_S))
    backoff, selector = Backoff(rand, initial_s=0.2, maximum_s=2.0), f"{HOST_LABEL}={config.name}"
    try:
        for _ in range(TRIES):
            try:
                deleted = await connection.clientset.nodes.delete_collection(label_selector=selector)
                _log.info("nodes deleted", extra={"partition": name, "nodes": deleted})
                return deleted
            except StatusError as error:
                _log.warning("nodes could not be deleted", extra={"partition": name, "cause": error.message})
                await clock.sleep(backoff.next())
    finally:
        await connection.close()
    return 0
