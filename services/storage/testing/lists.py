"""Scenarios: lists, pages, snapshots."""

from __future__ import annotations

from services.api.selectors import EVERYTHING, Selection
from services.storage.errors import Expired, InvalidQuery
from services.storage.interface import ListQuery, Match, Page, Record, Write
from services.storage.testing.expect import raises
from services.storage.testing.world import World, names, pod, selection


async def _create(world: World, *wanted: str) -> list[Record]:
    return [await world.create(name) for name in wanted]


async def an_empty_collection_lists_as_empty_at_a_revision(world: World) -> None:
    page = await world.list()
    assert (list(page.records), page.more, page.remaining) == ([], False, 0)
    assert page.revision > 0


async def a_list_is_in_key_order(world: World) -> None:
    await _create(world, "b", "c-1", "a", "c")
    assert await world.names() == ["a", "b", "c", "c-1"]


async def a_list_without_revision_sees_every_acknowledged_write(world: World) -> None:
    for number in range(10):
        record = await world.create(f"p{number}")
        page = await world.list()
        assert names(page) == [f"p{n}" for n in range(number + 1)]
        assert page.revision >= record.revision


async def a_prefix_is_whole_path_segments(world: World) -> None:
    await world.create("x", "a", "t")
    await world.create("y", "ab", "t")
    await world.create("z", "a", "t2")
    assert await world.names(below="t/a/") == ["x"]
    assert await world.names(below="t/") == ["x", "y"]
    with raises(InvalidQuery) as caught:
        await world.list(below="t/a")
    assert caught.value.field == "prefix"


async def a_list_can_select_by_label(world: World) -> None:
    await world.create("a", labels={"app": "web", "tier": "front"})
    await world.create("b", labels={"app": "web"})
    await world.create("c")
    assert await world.names(selection("app=web")) == ["a", "b"]
    assert await world.names(selection("app=web,!tier")) == ["b"]
    assert await world.names(selection("app!=web")) == ["c"]


async def a_list_can_select_by_field(world: World) -> None:
    await world.create("a", node="n1")
    await world.create("b", node="n2")
    await world.create("c", "other", node="n1")
    await world.create("d")
    assert await world.names(selection(fields="spec.nodeName=n1")) == ["a", "c"]
    assert await world.names(selection(fields="spec.nodeName=n1"), below="acme/other/") == ["c"]
    assert await world.names(selection(fields="spec.nodeName=")) == ["d"]
    assert await world.names(selection(fields="spec.nodeName!=n1")) == ["b", "d"]
    assert await world.names(selection("app=web", "spec.nodeName=n1")) == []


async def a_field_selection_follows_changes(world: World) -> None:
    record = await world.create("a")
    record = await world.change(record, node="n1")
    assert await world.names(selection(fields="spec.nodeName=n1")) == ["a"]
    record = await world.change(record, node="n2")
    assert await world.names(selection(fields="spec.nodeName=n1")) == []
    await world.delete(record)
    assert await world.names(selection(fields="spec.nodeName=n2")) == []


async def _pages(world: World, limit: int, chosen: Selection = EVERYTHING) -> list[Page]:
    pages = [await world.list(chosen, limit=limit)]
    while pages[-1].more:
        last = pages[-1].records[-1].key
        pages.append(await world.list(chosen, revision=pages[0].revision, match=Match.EXACT, limit=limit, after=last))
    return pages


async def pages_give_every_record_once_and_count_down(world: World) -> None:
    await _create(world, *(f"p{number}" for number in range(7)))
    pages = await _pages(world, 3)
    assert [names(page) for page in pages] == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6"]]
    assert [page.remaining for page in pages] == [4, 1, 0]
    assert len({page.revision for page in pages}) == 1


async def a_page_that_ends_the_collection_has_no_more(world: World) -> None:
    await _create(world, "a", "b")
    page = await world.list(limit=2)
    assert (names(page), page.more, page.remaining) == (["a", "b"], False, 0)


async def pages_with_a_selector_are_filled_and_count_nothing(world: World) -> None:
    for number in range(10):
        await world.create(f"p{number}", labels={"odd": str(number % 2)})
    pages = await _pages(world, 2, selection("odd=1"))
    assert [names(page) for page in pages] == [["p1", "p3"], ["p5", "p7"], ["p9"]]
    assert [page.remaining for page in pages] == [None, None, None]


async def a_filter_that_empties_the_last_page_yields_no_token(world: World) -> None:
    await world.create("a", labels={"app": "web"})
    await _create(world, "b", "c", "d")
    page = await world.list(selection("app=web"), limit=1)
    assert (names(page), page.more) == (["a"], False)


async def changes_during_paging_are_invisible(world: World) -> None:
    records = await _create(world, "b", "d", "f", "h")
    first = await world.list(limit=2)
    await _create(world, "a", "c", "e", "g", "i")
    await world.delete(records[2])
    changed = await world.change(records[3], note="changed")
    rest = await world.list(revision=first.revision, match=Match.EXACT, limit=5, after=first.records[-1].key)
    assert list(rest.records) == records[2:]
    assert (rest.more, rest.remaining, rest.revision) == (False, 0, first.revision)
    assert changed in (await world.list()).records


async def an_inconsistent_continuation_goes_on_at_the_most_recent_state(world: World) -> None:
    await _create(world, "a", "b", "d")
    first = await world.list(limit=2)
    late = await world.create("c")
    rest = await world.list(limit=5, after=first.records[-1].key)
    assert names(rest) == ["c", "d"]
    assert rest.revision >= late.revision


async def an_exact_list_is_the_state_at_that_revision(world: World) -> None:
    history: list[tuple[int, list[Record]]] = []
    first = await world.create("a")
    history.append((first.revision, [first]))
    second = await world.create("b", node="n1")
    history.append((second.revision, [first, second]))
    moved = await world.change(second, node="n2")
    history.append((moved.revision, [first, moved]))
    await world.delete(first)
    history.append((await world.position(), [moved]))
    third = await world.create("0")
    history.append((third.revision, [third, moved]))
    for revision, records in history:
        page = await world.list(revision=revision, match=Match.EXACT)
        assert (list(page.records), page.revision) == (records, revision)
    then = await world.list(selection(fields="spec.nodeName=n1"), revision=second.revision, match=Match.EXACT)
    assert list(then.records) == [second]


async def a_revision_with_a_limit_and_no_match_is_exact(world: World) -> None:
    first = await world.create("a")
    await world.create("b")
    page = await world.list(revision=first.revision, limit=10)
    assert (list(page.records), page.revision) == ([first], first.revision)


async def a_list_not_older_than_a_revision_may_be_newer(world: World) -> None:
    records = await _create(world, "a", "b", "c")
    await world.position()
    for match in (Match.UNSET, Match.NOT_OLDER_THAN):
        page = await world.list(revision=records[0].revision, match=match)
        assert page.revision >= records[0].revision
        assert list(page.records) == [record for record in records if record.revision <= page.revision]
    page = await world.list(revision=records[2].revision, match=Match.NOT_OLDER_THAN, limit=2)
    assert (list(page.records), page.more) == (records[:2], True)


async def a_list_at_any_age_honours_the_limit(world: World) -> None:
    await _create(world, "a", "b", "c")
    await world.position()
    page = await world.list(revision=0, limit=2)
    assert names(page) == ["a", "b"]
    assert page.more


async def an_exact_list_of_forgotten_history_raises_expired(world: World) -> None:
    records = await _create(world, "a", "b", "c")
    newest = await world.position()
    await world.forget(newest)
    with raises(Expired) as caught:
        await world.list(revision=records[0].revision, match=Match.EXACT)
    assert caught.value.continue_key == ""
    with raises(Expired) as caught:
        await world.list(revision=records[1].revision, match=Match.EXACT, after=records[0].key, limit=1)
    assert caught.value.continue_key == records[0].key
    assert await world.names() == ["a", "b", "c"]


async def queries_that_contradict_themselves_name_the_field(world: World) -> None:
    record = await world.create("a")
    prefix = world.prefix
    wrong = {
        "resource_version": ListQuery(prefix, EVERYTHING, revision=-1),
        "resource_version_match": ListQuery(prefix, EVERYTHING, revision=0, match=Match.EXACT),
        "limit": ListQuery(prefix, EVERYTHING, limit=-1),
        "continue": ListQuery(prefix, EVERYTHING, record.revision, Match.NOT_OLDER_THAN, record.key),
        "prefix": ListQuery(prefix[:-1], EVERYTHING),
    }
    for field, query in wrong.items():
        with raises(InvalidQuery) as caught:
            await world.store.list(query)
        assert caught.value.field == field
    for query in (
        ListQuery(prefix, EVERYTHING, match=Match.NOT_OLDER_THAN),
        ListQuery(prefix, EVERYTHING, start_key="/ursa/elsewhere/a"),
    ):
        with raises(InvalidQuery):
            await world.store.list(query)


async def tenants_and_namespaces_are_apart(world: World) -> None:
    await world.create("a", "ns", "acme")
    await world.create("b", "ns", "beta")
    await world.create("c", "ns2", "beta")
    assert await world.names(below="acme/") == ["a"]
    assert await world.names(below="beta/ns2/") == ["c"]
    page = await world.list(below="beta/", limit=1)
    assert (names(page), page.remaining) == (["b"], 1)


async def count_estimates_what_a_list_would_give(world: World) -> None:
    await _create(world, "a", "b")
    await world.create("c", tenant="beta")
    for below, expected in (("", 3), ("acme/", 2), ("nobody/", 0)):
        await world.list(below=below)
        assert world.store.count(world.prefix + below) == expected


async def a_key_deleted_and_created_again_lists_at_each_revision_as_it_was(world: World) -> None:
    first = await world.create("a", note="first")
    other = await world.create("b")
    await world.delete(first)
    gone_at = await world.position()
    again = await world.create("a", note="again")
    for revision, wanted in (
        (other.revision, [first, other]),
        (gone_at, [other]),
        (again.revision, [again, other]),
    ):
        page = await world.list(revision=revision, match=Match.EXACT)
        assert list(page.records) == wanted
        paged = await world.list(revision=revision, match=Match.EXACT, limit=1)
        assert (list(paged.records), paged.more) == (wanted[:1], len(wanted) > 1)


async def an_exact_list_selects_by_what_labels_were_then(world: World) -> None:
    was = await world.create("a", labels={"app": "web"})
    now = await world.change(was, labels={"app": "db"})
    for revision, chosen, wanted in (
        (was.revision, "app=web", [was]),
        (was.revision, "app=db", []),
        (now.revision, "app=web", []),
        (now.revision, "app=db", [now]),
    ):
        page = await world.list(selection(chosen), revision=revision, match=Match.EXACT)
        assert list(page.records) == wanted


async def a_rare_match_is_found_in_one_page(world: World) -> None:
    writes = [Write(world.key(f"p{number:03}"), pod(f"p{number:03}"), 0) for number in range(600)]
    await world.store.write_batch(writes)
    rare = await world.create("p300x", labels={"app": "rare"})
    page = await world.list(selection("app=rare"), limit=1)
    assert (list(page.records), page.more, page.remaining) == ([rare], False, None)
    page = await world.list(selection("app=missing"), limit=1)
    assert (list(page.records), page.more) == ([], False)


async def a_continuation_goes_on_although_its_key_is_gone(world: World) -> None:
    records = await _create(world, "a", "b", "c")
    first = await world.list(limit=2)
    await world.delete(records[1])
    exact = await world.list(revision=first.revision, match=Match.EXACT, limit=2, after=records[1].key)
    assert list(exact.records) == [records[2]]
    recent = await world.list(limit=2, after=records[1].key)
    assert list(recent.records) == [records[2]]


async def a_page_ends_within_its_namespace(world: World) -> None:
    await world.create("a", namespace="n1")
    last = await world.create("b", namespace="n1")
    await world.create("c", namespace="n2")
    first = await world.list(below="acme/n1/", limit=1)
    assert (names(first), first.more, first.remaining) == (["a"], True, 1)
    rest = await world.list(
        below="acme/n1/", revision=first.revision, match=Match.EXACT, limit=1, after=first.records[-1].key
    )
    assert (list(rest.records), rest.more, rest.remaining) == ([last], False, 0)
