"""SEMANTICS, table GET."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import pytest

from services.api.kinds import Kind
from tests.integration.apiserver.world import refused
from tests.integration.semantics.world import ALL_KINDS, History, Servers, by_name, history_of

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]


async def unset_is_most_recent(history: History) -> None:
    subject = history.subject
    written = await subject.relabel("a5", turn="1")
    assert await subject.get("a5") == written


async def zero_is_any_age(history: History) -> None:
    found = await history.subject.get("a3", 0)
    assert found.metadata.name.endswith("a3")
    assert 0 < found.metadata.resource_version <= history.latest


async def n_is_not_older_than_n(history: History) -> None:
    written = await history.subject.relabel("a4", turn="2")
    assert await history.subject.get("a4", written.metadata.resource_version) == written


async def n_of_the_past_gives_the_present(history: History) -> None:
    found = await history.subject.get("a1", history.created)
    assert found.metadata.resource_version == history.updated_at


async def what_is_missing_is_not_found(history: History) -> None:
    for version in (None, 0, history.latest):
        error = await refused(history.subject.get(history.missing, version))
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NotFound")


ROWS = {
    "RV unset: most recent": unset_is_most_recent,
    "RV 0: any age": zero_is_any_age,
    "RV N: not older than N": n_is_not_older_than_n,
    "RV N of the past: the present": n_of_the_past_gives_the_present,
    "missing: NotFound": what_is_missing_is_not_found,
}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_get(servers: Servers, kind: Kind, row: Callable[[History], Awaitable[None]]) -> None:
    await row(await history_of(servers, kind))
