"""Reads and watches of what etcd has compacted away. Last of this directory: it takes the others' history too."""

from __future__ import annotations

import grpc
import pytest

from services.api.kinds import Kind
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.storage.etcd import EtcdBackend, EtcdConfig
from tests.integration.apiserver.world import refused
from tests.integration.semantics.world import ALL_KINDS, SORTS, Servers, by_name

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_after_compaction_a_token_expires_and_an_inconsistent_one_goes_on(servers: Servers, kind: Kind) -> None:
    subject = await servers.subject(kind)
    for name in ("a0", "b0", "c0", "d0"):
        await subject.create(name)
    query = {"label_selector": subject.selector}
    first = await subject.list(limit=2, **query)
    await subject.create("a1")
    await subject.create("c1")
    await subject.roll_window()
    last = (await subject.relabel("a0", final="1")).metadata.resource_version
    async with EtcdBackend(
        EtcdConfig(endpoints=(servers.etcd(kind).endpoint,)), clock=SystemClock(), rand=Rand()
    ) as backend:
        await backend.compact(last)
    # The page cannot be had any more at its RV: neither from the window nor from etcd.
    error = await refused(subject.list(limit=2, continue_token=first.continue_token, **query))
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "Expired")
    second = await subject.list(limit=2, continue_token=error.metadata["continue"], **query)
    assert subject.names(second) == ["c0", "c1"]
    assert second.resource_version >= last
    third = await subject.list(limit=2, continue_token=second.continue_token, **query)
    assert (subject.names(third), third.continue_token) == (["d0"], "")
    assert third.resource_version == second.resource_version
    exact = {"resource_version": first.resource_version}
    for call in (subject.list(match="Exact", **exact, **query), subject.list(limit=1, **exact, **query)):
        error = await refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "Expired")
        assert "continue" not in error.metadata
    for sort in SORTS:
        async with subject.watch(sort, **exact) as watch:
            error = await watch.refused()
            assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "Expired")
