"""SEMANTICS, table LIST, and the rules under it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.api import kinds
from services.api.kinds import Kind
from tests.integration.apiserver.world import named
from tests.integration.semantics.world import ALL_KINDS, History, Servers, Subject, by_name, history_of
from tests.support.tenants import make_tenant

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]


async def pages(subject: Subject, first: Any, **query: Any) -> list[Any]:
    """The pages after ``first``, by its tokens."""
    found = [first]
    while found[-1].continue_token:
        found.append(await subject.list(continue_token=found[-1].continue_token, **query))
    return found


def all_names(subject: Subject, listed: list[Any]) -> list[str]:
    return [name for page in listed for name in subject.names(page)]


async def unset_is_most_recent(history: History) -> None:
    subject = history.subject
    written = await subject.relabel("a5", turn="3")
    listing = await subject.list()
    assert subject.names(listing) == history.now
    assert listing.resource_version >= written.metadata.resource_version
    assert written in listing.items


async def unset_honours_the_limit(history: History) -> None:
    first = await history.subject.list(limit=2)
    assert len(first.items) == 2
    listed = await pages(history.subject, first, limit=2)
    assert all_names(history.subject, listed) == history.now
    assert {page.resource_version for page in listed} == {first.resource_version}


async def zero_is_any_age(history: History) -> None:
    listing = await history.subject.list(resource_version=0)
    assert "a3" in history.subject.names(listing)
    matched = await history.subject.list(resource_version=0, match="NotOlderThan")
    assert matched.resource_version >= listing.resource_version


async def zero_honours_the_limit(history: History) -> None:
    for match in ("", "NotOlderThan"):
        first = await history.subject.list(resource_version=0, match=match, limit=3)
        assert len(first.items) == 3
        assert all_names(history.subject, await pages(history.subject, first, limit=3)) == history.now


async def n_is_not_older_than_n(history: History) -> None:
    subject = history.subject
    version = (await subject.relabel("a4", turn="4")).metadata.resource_version
    for match in ("", "NotOlderThan"):
        listing = await subject.list(resource_version=version, match=match)
        assert listing.resource_version >= version
        assert subject.names(listing) == history.now
    old = await subject.list(resource_version=history.created)
    assert subject.names(old) == history.now


async def n_not_older_than_honours_the_limit(history: History) -> None:
    subject = history.subject
    first = await subject.list(resource_version=history.created, match="NotOlderThan", limit=2)
    assert len(first.items) == 2
    assert first.resource_version >= history.latest
    assert all_names(subject, await pages(subject, first, limit=2)) == history.now


async def n_with_a_limit_is_exactly_n(history: History) -> None:
    subject = history.subject
    first = await subject.list(resource_version=history.created, limit=2)
    assert first.resource_version == history.created
    listed = await pages(subject, first, limit=2)
    assert all_names(subject, listed) == history.before
    assert {page.resource_version for page in listed} == {history.created}


async def exact_is_exactly_n(history: History) -> None:
    subject = history.subject
    listing = await subject.list(resource_version=history.created, match="Exact")
    assert (listing.resource_version, subject.names(listing)) == (history.created, history.before)
    (old,) = [item for item in listing.items if item.metadata.name == f"{subject.prefix}a1"]
    assert "touched" not in old.metadata.labels
    paged = await pages(subject, await subject.list(resource_version=history.created, match="Exact", limit=4), limit=4)
    assert all_names(subject, paged) == history.before


async def exact_selects(history: History) -> None:
    subject = history.subject
    query = {"resource_version": history.created, "match": "Exact", "label_selector": f"{subject.selector},parity=odd"}
    listing = await subject.list(**query)
    assert subject.names(listing) == ["a1", "a3", "a5"]
    by_field = await subject.list(
        resource_version=history.created, match="Exact", field_selector=f"metadata.name={subject.prefix}a2"
    )
    assert subject.names(by_field) == ["a2"]


async def a_token_goes_on_at_its_rv(history: History) -> None:
    subject = history.subject
    first = await subject.list(limit=2, label_selector=subject.selector)
    await subject.relabel("a5", turn="5")
    for version in (None, 0):
        rest = await subject.list(
            continue_token=first.continue_token, resource_version=version, label_selector=subject.selector
        )
        assert rest.resource_version == first.resource_version
        assert subject.names(first) + subject.names(rest) == history.now
        turned = [item for item in rest.items if item.metadata.name == f"{subject.prefix}a5"]
        assert turned[0].metadata.labels.get("turn") != "5"


async def items_come_in_key_order(history: History) -> None:
    listing = await history.subject.list()
    names = [(item.metadata.tenant, item.metadata.namespace, item.metadata.name) for item in listing.items]
    assert names == sorted(names)


async def remaining_counts_without_selectors_only(history: History) -> None:
    subject = history.subject
    whole = await subject.list()
    first = await subject.list(limit=2)
    assert first.remaining == len(whole.items) - 2
    second = await subject.list(limit=2, continue_token=first.continue_token)
    assert second.remaining == len(whole.items) - 4
    assert whole.remaining is None
    selected = await subject.list(limit=2, label_selector=subject.selector)
    assert (bool(selected.continue_token), selected.remaining) == (True, None)
    by_field = await subject.list(limit=1, field_selector=f"metadata.name!={subject.prefix}a0")
    assert (bool(by_field.continue_token), by_field.remaining) == (True, None)


async def a_filter_that_empties_the_last_page_yields_no_token(history: History) -> None:
    subject = history.subject
    # a1, a3 and a5 match; b0 and whatever follows does not.
    selector = f"{subject.selector},parity=odd"
    assert (await subject.list(limit=2, label_selector=selector)).continue_token
    page = await subject.list(limit=3, label_selector=selector)
    assert (subject.names(page), page.continue_token) == (["a1", "a3", "a5"], "")
    nothing = await subject.list(limit=3, label_selector=f"{subject.selector},parity=neither")
    assert (nothing.items, nothing.continue_token) == ([], "")


async def the_rv_is_the_collections_position(history: History) -> None:
    listing = await history.subject.list(resource_version=history.latest)
    assert listing.resource_version >= max(item.metadata.resource_version for item in listing.items)
    nothing = await history.subject.list(label_selector="set=nobody")
    assert nothing.resource_version >= history.latest


ROWS = {
    "RV unset: most recent": unset_is_most_recent,
    "RV unset, limit: honoured": unset_honours_the_limit,
    "RV 0: any age": zero_is_any_age,
    "RV 0, limit: honoured": zero_honours_the_limit,
    "RV N: not older than N": n_is_not_older_than_n,
    "RV N, NotOlderThan, limit: honoured": n_not_older_than_honours_the_limit,
    "RV N, limit: exactly N (legacy)": n_with_a_limit_is_exactly_n,
    "RV N, Exact: exactly N": exact_is_exactly_n,
    "RV N, Exact, selectors: as of N": exact_selects,
    "RV unset or 0, token: the token's RV": a_token_goes_on_at_its_rv,
    "items in key order": items_come_in_key_order,
    "remaining_item_count without selectors only": remaining_counts_without_selectors_only,
    "a filter that empties the last page yields no token": a_filter_that_empties_the_last_page_yields_no_token,
    "the list's RV is the collection's position": the_rv_is_the_collections_position,
}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_list(servers: Servers, kind: Kind, row: Callable[[History], Awaitable[None]]) -> None:
    await row(await history_of(servers, kind))


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_exact_reads_and_pages_below_the_window_come_from_etcd(servers: Servers, kind: Kind) -> None:
    history = await history_of(servers, kind)
    subject = history.subject
    first = await subject.list(resource_version=history.created, limit=2)
    await subject.roll_window()
    if servers.cached(kind):
        store: Any = servers.home(kind).host.api.resources[kind.resource].store
        # Nodes are written together with their ledgers; the cache is what they are read from.
        store = getattr(store, "_nodes", store)
        assert store.view.floor > history.created
    await exact_is_exactly_n(history)
    await exact_selects(history)
    await n_with_a_limit_is_exactly_n(history)
    rest = await subject.list(continue_token=first.continue_token)
    assert subject.names(first) + subject.names(rest) == history.before
    assert rest.resource_version == history.created


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_inserts_and_deletes_during_paging_are_invisible(servers: Servers, kind: Kind) -> None:
    subject = await servers.subject(kind)
    for name in ("a", "b", "c", "d"):
        await subject.create(name)
    first = await subject.list(limit=2, label_selector=subject.selector)
    await subject.create("a-late")
    await subject.create("c-late")
    if subject.ends_at_once:
        await subject.delete("d")
    rest = await subject.list(limit=2, label_selector=subject.selector, continue_token=first.continue_token)
    assert (subject.names(first), subject.names(rest)) == (["a", "b"], ["c", "d"])
    assert (rest.continue_token, rest.resource_version) == ("", first.resource_version)


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.tenant_scoped], ids=by_name)
async def test_a_prefix_is_a_whole_segment(servers: Servers, kind: Kind) -> None:
    """``/pods/a`` never matches ``/pods/ab``: of tenants and of namespaces."""
    subject = await servers.subject(kind)
    longer = subject.tenant + "b"
    await make_tenant(servers.tp.clients, longer)
    other = Subject(servers, kind, subject.partition, longer, subject.namespace, subject.prefix)
    await subject.create("mine")
    await other.create("theirs")
    assert subject.names(await subject.list()) == ["mine"]
    if kind.namespaced:
        for namespace in ("n", "nb"):
            await servers.tp.clients.namespaces.create(named(kinds.NAMESPACES, namespace, tenant=subject.tenant))
        for namespace in ("n", "nb"):
            await Subject(servers, kind, subject.partition, subject.tenant, namespace, "s-").create(namespace)
        found = await subject.client.list(tenant=subject.tenant, namespace="n")
        assert [item.metadata.namespace for item in found.items] == ["n"]
    async with subject.watch("typed", label_selector="") as watch:
        initial = (await watch.next()).events
        assert {"mine"} <= {event.name for event in initial} <= {"mine", "default", "n", "nb"}


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.tenant_scoped], ids=by_name)
async def test_the_tenant_star_is_every_tenant(servers: Servers, kind: Kind) -> None:
    one, other = await servers.subject(kind), await servers.subject(kind)
    await one.create("a")
    await other.create("a")
    listing = await one.client.list(tenant="*", label_selector=f"set in ({one.prefix}all,{other.prefix}all)")
    assert {item.metadata.tenant for item in listing.items} == {one.tenant, other.tenant}
