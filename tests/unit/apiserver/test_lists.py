"""A list keeps no place for nothing: not while it waits for freshness, and not for a reader that never reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.apiserver.lists import Aside, Sending, Unread
from services.rpc.lanes import Budget, Lane, place_in
from services.rpc.status import StatusError
from services.storage.interface import Page

PAGE = Page((), 1, False, None)


def lane(wait_s: float = 30.0) -> Lane:
    return Lane("lists", at_once_max=1, waiting_max=8, wait_s_max=wait_s, retry_after_s=0.5, budget=Budget(100))


class Fetch:
    """A page that is there once ``fresh`` is set."""

    def __init__(self) -> None:
        self.fresh = asyncio.Event()
        self.pages = 0

    async def __call__(self) -> Page:
        await self.fresh.wait()
        self.pages += 1
        return PAGE


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if check():
                return
            await asyncio.sleep(0.001)


async def test_a_list_that_waits_for_freshness_gives_its_place_to_others() -> None:
    lists, fetch = lane(), Fetch()
    aside = Aside(lists, 0.001, waiting_max=1)
    place = await place_in(lists)
    page = asyncio.ensure_future(aside.page(place, fetch))
    other = await place_in(lists)
    other.leave()
    fetch.fresh.set()
    assert await page is PAGE
    assert (lists.running, aside.waiting, fetch.pages, place.left) == (1, 0, 1, False)


async def test_a_page_is_not_kept_in_line_but_made_again() -> None:
    lists, fetch = lane(), Fetch()
    place = await place_in(lists)
    page = asyncio.ensure_future(Aside(lists, 0.001, waiting_max=1).page(place, fetch))
    other = await place_in(lists)
    fetch.fresh.set()
    await until(lambda: lists.waiting == 1)
    other.leave()
    assert await page is PAGE
    assert (lists.running, fetch.pages) == (1, 2)


async def test_of_those_that_wait_for_freshness_only_so_many_may() -> None:
    lists, fetch = lane(), Fetch()
    aside = Aside(lists, 0.001, waiting_max=1)
    first = asyncio.ensure_future(aside.page(await place_in(lists), fetch))
    second = await place_in(lists)
    with pytest.raises(StatusError) as refused:
        await aside.page(second, fetch)
    assert (refused.value.reason, refused.value.retry_after_s, lists.refused) == ("TooManyRequests", 0.5, 1)
    second.leave()
    fetch.fresh.set()
    await first


async def test_a_list_that_is_cancelled_while_it_waits_leaves_nothing() -> None:
    lists = lane()
    aside = Aside(lists, 0.001, waiting_max=1)
    waiting = asyncio.ensure_future(aside.page(await place_in(lists), Fetch()))
    await until(lambda: aside.waiting == 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (lists.running, aside.waiting) == (0, 0)


class Reader:
    """Takes a part when it ``reads``."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()

    async def __call__(self, part: bytes) -> None:
        await self.reads.wait()


async def test_a_list_that_nobody_reads_is_given_up_with_its_page() -> None:
    lists, reader, budget = lane(), Reader(), Budget(100)
    unread = Unread(0.001, budget, 0.5)
    sending = Sending(await place_in(lists), [b"record"])
    written = asyncio.ensure_future(unread.write(sending, b"part", reader))
    await place_in(lists)
    assert (len(sending.records), budget.used) == (0, 4)
    reader.reads.set()
    with pytest.raises(StatusError) as gone:
        await written
    assert (gone.value.code.name, gone.value.retry_after_s, budget.used) == ("RESOURCE_EXHAUSTED", 0.5, 0)


async def test_each_part_has_its_own_time() -> None:
    sending, reader, unread = Sending(await place_in(lane()), []), Reader(), Unread(0.2, Budget(100), 0.5)
    reader.reads.set()
    loop = asyncio.get_running_loop()
    end_s = loop.time() + 0.5
    while loop.time() < end_s:
        await unread.write(sending, b"part", reader)
        await asyncio.sleep(0.01)
    assert not sending.given_up


async def test_beyond_the_budget_lists_that_nobody_reads_keep_their_places() -> None:
    lists, budget = lane(wait_s=0.05), Budget(4)
    budget.take(1)
    written = asyncio.ensure_future(
        Unread(0.001, budget, 0.5).write(Sending(await place_in(lists), []), b"part", Reader())
    )
    with pytest.raises(StatusError):
        await place_in(lists)
    budget.give(1)
    await place_in(lists)
    written.cancel()
    await asyncio.wait([written])
    assert budget.used == 0
