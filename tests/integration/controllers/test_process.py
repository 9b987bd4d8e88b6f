"""The controller manager as a process: two elect one, the other takes over after SIGKILL; wrong settings are named."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re
import signal
import sys
import urllib.error
import urllib.request

from tests.integration.apiserver.world import eventually
from tests.integration.controllers.conftest import PORTS, Cluster
from tests.support.etcd import free_port
from tests.support.kubelet_processes import Process


def made(directory: pathlib.Path, cluster: Cluster, number: int, metrics: int) -> Process:
    name = f"controller-{number}"
    file = directory / f"{name}.toml"
    file.write_text(f'''name = "{name}"
[resource_partition]
name = "rp-1"
endpoints = ["{cluster.resource.listen}"]
[leader_election]
lease_s = 9.0
renew_deadline_s = 6.0
retry_s = 0.3
[claims]
claim_review_after_s = 1.0
[telemetry]
metrics_listen = "127.0.0.1:{metrics}"
''')
    return Process(name, [sys.executable, "-m", "services.controllers", "--config", str(file)], directory)


async def fetch(port: int, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as failure:
            return failure.code, failure.read().decode()
        except OSError:
            return 0, ""

    return await asyncio.to_thread(get)


async def holder(cluster: Cluster) -> str:
    lease = await cluster.at("rp-1").leases.get("controller-manager", tenant="system", namespace="kube-system")
    return str(lease.spec.holder_identity).partition("_")[0]


async def test_two_elect_one_and_the_other_takes_over_after_a_kill(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    ports = [free_port(PORTS), free_port(PORTS)]
    processes = {f"controller-{n}": made(tmp_path, cluster, n, port) for n, port in enumerate(ports)}
    try:
        for process in processes.values():
            await process.start()

        async def both_ready() -> bool:
            return all([(await fetch(port, "/readyz"))[0] == 200 for port in ports])

        await eventually(both_ready, within_s=20)
        first = await holder(cluster)
        assert first in processes
        leading = [name for name, process in processes.items() if process.lines("leading")]
        assert leading == [first]
        orphan = await cluster.create("orphan")
        await cluster.claim(orphan)

        async def no_claims() -> bool:
            return not await cluster.claims()

        await eventually(no_claims, within_s=30)
        _, metrics = await fetch(ports[int(first[-1])], "/metrics")
        assert 'ursa_claim_releases_total{fact="REVOKED",tenant_partition="tp-1"} 1.0' in metrics
        # Claims that other tests left on this cluster may be leaks too: this one is told by its UID.
        told = processes[first].lines("released claims that no claimant came back for")
        assert any(orphan.metadata.uid == line["first"] for line in told), told
        leaks = re.search(r'ursa_claim_leaks_total\{tenant_partition="tp-1"\} (\S+)', metrics)
        assert leaks is not None and float(leaks[1]) >= 1
        assert 'ursa_claims_partition_connected{tenant_partition="tp-2"} 1.0' in metrics

        await processes[first].kill()
        stays, gone = await cluster.placed("stays"), await cluster.placed("gone")
        await cluster.delete(gone)

        async def taken_over() -> bool:
            return await holder(cluster) != first and await cluster.claims() == {stays.metadata.uid}

        await eventually(taken_over, within_s=40)
        second = await holder(cluster)
        port = ports[int(second[-1])]
        assert json.loads((await fetch(port, "/readyz"))[1]) == {"resource-partition": True}

        await processes[second].kill(signal.SIGTERM)
        assert await holder(cluster) == ""  # one that ends in order keeps nobody waiting
    finally:
        for process in processes.values():
            await process.kill()


async def test_a_wrong_configuration_is_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bad.toml"
    for section, complaint in (
        ("[claims]\nreview_after_s = 1", b"unknown field $.claims.review_after_s"),
        ("[claims]\nbatch_claims = 0", b"batch_claims must be at least 1"),
        ("[leader_election]\nlease_s = 5.0", b"want lease_s > renew_deadline_s"),
    ):
        file.write_text(f'name = "c"\n[resource_partition]\nname = "rp-1"\nendpoints = []\n{section}\n')
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.controllers", "--config", str(file), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert complaint in errors, errors
