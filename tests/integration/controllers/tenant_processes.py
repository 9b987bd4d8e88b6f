"""The controller manager of tp-1 as a process."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import AsyncIterator

from tests.integration.controllers.conftest import Cluster
from tests.support.kubelet_processes import Process


@contextlib.asynccontextmanager
async def manager_process(cluster: Cluster, directory: pathlib.Path, name: str) -> AsyncIterator[Process]:
    file = directory / f"{name}.toml"
    file.write_text(f'''name = "{name}"
[tenant_partition]
name = "tp-1"
endpoints = ["{cluster.tenants["tp-1"].listen}"]
[leader_election]
lease_s = 9.0
renew_deadline_s = 6.0
retry_s = 0.3
''')
    process = Process(name, [sys.executable, "-m", "services.controllers", "--config", str(file)], directory)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()
