"""An etcd without space: what removes goes on, everything else is refused with a status that says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.rpc.status import StatusError
from tests.integration.apiserver.world import (
    binding,
    pod,
    port,
    refused,
    resource_partition_config,
    running,
    tenant_partition_config,
)
from tests.support.etcd import EtcdProcess, running_etcd
from tests.support.tenants import make_tenant

pytestmark = pytest.mark.etcd


@pytest.fixture
def small_etcd() -> Iterator[EtcdProcess]:
    with running_etcd(client_port=port(), peer_port=port(), extra=("--quota-backend-bytes=4194304",)) as process:
        yield process


def is_full(error: StatusError) -> bool:
    return (error.code.name, error.reason, error.retry_after_s) == ("RESOURCE_EXHAUSTED", "StorageFull", 10.0)


async def test_removals_go_on_and_the_rest_is_refused(small_etcd: EtcdProcess, resource_etcd: EtcdProcess) -> None:
    home = resource_partition_config(resource_etcd.endpoint, port())
    tenant = tenant_partition_config(small_etcd.endpoint, port(), home.listen)
    async with running(home), running(tenant) as partition:
        pods = partition.clients.pods
        await make_tenant(partition.clients, "full")
        bound, plain, held = (pod("full", name) for name in ("bound", "plain", "held"))
        held.metadata.finalizers.append("example.com/hold")
        for obj in (bound, plain, held):
            await pods.create(obj)
        await pods.bind(binding("full", "bound", "n1"))
        ending = await pods.delete("held", tenant="full", namespace="default")
        assert ending.metadata.HasField("deletion_timestamp")
        with pytest.raises(StatusError) as caught:
            for number in range(100):
                fat = pod("full", f"fat-{number}")
                fat.metadata.annotations["padding"] = "x" * 200_000
                await pods.create(fat)
        assert is_full(caught.value)
        # An update is a new revision, which takes space; so is the mark of a graceful deletion.
        changed = await pods.get("plain", tenant="full", namespace="default")
        changed.metadata.labels["colour"] = "green"
        assert is_full(await refused(pods.update(changed)))
        assert is_full(await refused(pods.delete("bound", tenant="full", namespace="default")))
        assert not (await pods.get("bound", tenant="full", namespace="default")).metadata.HasField("deletion_timestamp")
        # What removes, goes on.
        await pods.delete("plain", tenant="full", namespace="default")
        await pods.delete("bound", tenant="full", namespace="default", grace_period_seconds=0)
        del ending.metadata.finalizers[:]
        await pods.update(ending)
        left = {item.metadata.name for item in (await pods.list(tenant="full", namespace="default")).items}
        assert not left & {"plain", "bound", "held"}
