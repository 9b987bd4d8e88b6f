"""The kubelet host as a process: configuration in, the host wired to the system's clock and to real connections."""

from __future__ import annotations

import asyncio
import gc

from services.base import telemetry
from services.base.clock import Clock, SystemClock
from services.base.config import ConfigError, load
from services.base.http import ProcessEndpoint
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.base.timeline import open_timeline
from services.kubelet import farewell, hollowservice, logservice
from services.kubelet.config import KubeletConfig
from services.kubelet.host import Host
from services.kubelet.serving import Calls, Handlers, KubeletServer

# Most objects of a host live long; the collector should not walk them for every few hundred new ones.
GC_THRESHOLDS = (50_000, 20, 100)


def read_config(path: str, overrides: tuple[str, ...]) -> KubeletConfig:
    """Raises ``ConfigError``, naming the file and the fields."""
    config = load(path, KubeletConfig, overrides)
    problems = config.problems()
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return config


async def run(config: KubeletConfig, stopping: asyncio.Event) -> None:
    """Until ``stopping`` is set. Pods are left as they are: the next process adopts them. Nodes are deleted if the
    configuration says so."""
    # A host may keep nodes in several resource partitions: its traces and logs name them all.
    partitions = ",".join(dict.fromkeys(pool.resource_partition for pool in config.pools))
    running = telemetry.start(config.telemetry, service="kubelet", partition=partitions)
    gc.set_threshold(*GC_THRESHOLDS)
    timeline = open_timeline(config.telemetry.pod_timeline)
    clock, rand = SystemClock(), Rand(config.seed)
    try:
        host = Host(config, clock, rand, timeline=timeline)
        server = KubeletServer(config.listen, services_of(host, clock), config.tls)
        endpoint = ProcessEndpoint(config.telemetry.metrics_listen, host.ready)
        async with endpoint, server, Supervisor() as tasks:
            host.port = server.port
            tasks.start(timeline.run(clock), name="pod-timeline")
            tasks.start(host.run(), name="host")
            await stopping.wait()
        if config.delete_on_exit:
            await farewell.delete_nodes(config, clock, rand)
    finally:
        timeline.close()
        running.shutdown()


def services_of(host: Host, clock: Clock) -> dict[str, Handlers]:
    """What the process serves on its own port, by service name."""
    calls = Calls(clock)
    return {
        hollowservice.SERVICE: hollowservice.handlers(host.disturber, calls),
        logservice.SERVICE: logservice.handlers(host, calls, clock),
    }
