"""The examples that ``ursa up`` applies: two tenants, on different tenant partitions when there are two."""

from __future__ import annotations

import io
import pathlib

from services.base.clock import SystemClock
from services.cli import files
from services.cli.cluster import Cluster
from services.cli.context import Partition
from services.cli.errors import Refused
from services.cli.onebox.progress import Progress
from services.cli.streams import Streams
from services.cli.verbs import create, submit
from services.cli.verbs.scope import Where
from services.cli.waiting import until_async

TENANTS = ("acme", "beta")
PAUSE_S = 0.2


def directory() -> pathlib.Path | None:
    """``examples/`` of the checkout; None when this is an installation without it."""
    found = pathlib.Path(__file__).resolve().parents[3] / "examples"
    return found if found.is_dir() else None


async def settle(cluster: Cluster, progress: Progress, deadline: float) -> None:
    """Make the tenants, apply their files, wait until their pods run. What is there already stays as it is."""
    found = directory()
    if found is None:
        progress.warn("no examples beside this installation")
        return
    said = io.StringIO()
    streams = Streams(said, said)
    for number, tenant in enumerate(TENANTS):
        partition = cluster.context.tenant_partitions[number % len(cluster.context.tenant_partitions)]
        progress.now(f"tenant {tenant} on {partition.name}: applying examples/{tenant}.yaml")
        await _apply(cluster, tenant, partition, found / f"{tenant}.yaml", streams, said)
    await _wait(cluster, progress, deadline)


async def _apply(
    cluster: Cluster, tenant: str, partition: Partition, file: pathlib.Path, streams: Streams, said: io.StringIO
) -> None:
    await create.ensure_tenant(cluster, tenant, partition)
    documents = files.read([str(file)], "strict", streams)
    if await submit.submit(cluster, submit.Request(documents, Where(tenant=tenant), merge=True), streams):
        raise Refused(f"{file.name} could not be applied:\n{said.getvalue().strip()}")


async def _wait(cluster: Cluster, progress: Progress, deadline: float) -> None:
    late: list[str] = []

    async def all_run() -> bool:
        late.clear()
        for tenant in TENANTS:
            client = cluster.clients(await cluster.place_of(tenant))
            late.extend(
                f"{tenant}/{pod.metadata.name} ({pod.status.phase or 'Pending'})"
                for pod in (await client.pods.list(tenant=tenant)).items
                if pod.status.phase not in ("Running", "Succeeded")
            )
        progress.now("example pods: " + (f"waiting for {', '.join(late[:4])}" if late else "all Running"))
        return not late

    if not await until_async(all_run, deadline - SystemClock().monotonic(), pause_s=PAUSE_S):
        hint = "see `ursa describe pod NAME --tenant TENANT`, `ursa logs component/scheduler-tp-1`"
        raise Refused(f"example pods are not Running: {', '.join(late)}", hint=hint)
    progress.done(f"examples applied, their pods are Running (tenants {', '.join(TENANTS)})")
