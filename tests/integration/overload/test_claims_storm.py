"""A storm on a resource partition, with the limits it ships with, leaves claims and heartbeats within a second."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

from services.api.pb.ursa.coordination.v1.lease_service_pb2 import LeaseRenewal
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.renewals import LeaseRenewals
from tests.integration.overload.test_storm import MEMORY, PORTS, ROOT, STORM_S, node_lease, p99, summary, timed
from tests.integration.resource_partition.world import World, running
from tests.support.etcd import EtcdProcess, free_port
from tests.unit.resource_partition.world import claim, verdict

pytestmark = pytest.mark.etcd

NODES = 200
BATCH = 20


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    """Its files are in memory where that can be: a disk that stands still for a second is not what is tested."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ursa-etcd-", dir=place) as directory:
        process = EtcdProcess(free_port(PORTS), free_port(PORTS), data_dir=pathlib.Path(directory))
        try:
            yield process.start()
        finally:
            process.remove()


@pytest.mark.timeout(180)
async def test_claims_and_heartbeats_stay_within_a_second(tmp_path: pathlib.Path, etcd: EtcdProcess) -> None:
    """A pause of half a second of everything on this machine is enough to make one p99 late: it is tried once more."""
    async with running(etcd, tmp_path, 1) as world:
        names = await world.nodes(NODES, cpu="64")
        await world.servers[0].clients.leases.batch_create([node_lease(name) for name in names])
        told = [await _stormed(world, names, turn=0)]
        if max(map(p99, told[-1].values())) > 1.0:
            told.append(await _stormed(world, names, turn=1))
        assert max(map(p99, told[-1].values())) <= 1.0, [
            {what: summary(taken) for what, taken in turn.items()} for turn in told
        ]
        await world.audit()


async def _stormed(world: World, names: list[str], turn: int) -> dict[str, list[float]]:
    """Seconds that each claim batch and each renewal took. What does not depend on time is checked here."""
    server = world.servers[0]
    command = [sys.executable, "-m", "tests.integration.overload.storm", server.endpoint, "", str(STORM_S)]
    storm = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    finished = asyncio.get_running_loop().create_task(storm.communicate())
    claims: list[float] = []
    heartbeats: list[float] = []

    async def claiming(number: int) -> None:
        batch = 0
        while not finished.done():
            batch += 1
            wanted = [
                claim(f"{turn}-{number}-{batch}-{one}", names[(batch * BATCH + one) % NODES], cpu=10)
                for one in range(BATCH)
            ]
            outcomes = await timed(server.clients.capacity_claims.batch_claim(wanted, timeout_s=10.0), claims)
            assert {verdict(outcome) for outcome in outcomes} == {"HELD"}
            await asyncio.sleep(0.05)

    beats = LeaseRenewals(server.channel, SystemClock(), Rand(), partition="rp-1")

    async def beating(number: int) -> None:
        cohort = [LeaseRenewal(name=name, holder_identity=name) for name in names[number::4]]
        place = {"tenant": "system", "namespace": "kube-node-lease"}
        while not finished.done():
            sent = beats.renew(cohort, **place, now_s=time.time(), timeout_s=10)
            assert await timed(sent, heartbeats) == {}
            await asyncio.sleep(0.1)

    try:
        async with Supervisor() as streams, asyncio.TaskGroup() as tasks:
            streams.start(beats.run(), name="renewals")
            for number in range(4):
                tasks.create_task(claiming(number))
                tasks.create_task(beating(number))
    finally:
        if storm.returncode is None:
            storm.kill()
    output, _ = await finished
    report = json.loads(output)
    answers = report["answers"]
    print(f"claims {summary(claims)}, heartbeats {summary(heartbeats)}, {answers}")
    assert len(claims) > 20 and len(heartbeats) > 20, answers
    assert not report["unexplained"]
    # Everybody was answered: served, or told to come again.
    assert all(answer.split(" ", 1)[1] in ("OK", "RESOURCE_EXHAUSTED TooManyRequests") for answer in answers), answers
    for what in ("create", "list", "watch"):
        assert answers.get(f"{what} OK", 0) > 0, answers
    return {"claims": claims, "heartbeats": heartbeats}
