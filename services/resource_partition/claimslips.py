"""What a request leaves at the desks: a slip for each of its items, on which the answer is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.resource_partition.claimplan import Item


class Slip:
    """An item on its way to its answer. ``replaces``: pods whose claims are to be known before it is decided."""

    __slots__ = ("answer", "item", "replaces", "sheet")

    def __init__(self, item: Item, sheet: Sheet, replaces: Sequence[str]) -> None:
        self.item = item
        self.sheet = sheet
        self.replaces = replaces
        self.answer: object = None

    def settle(self, answer: object) -> None:
        """``answer``: what ``Answer.given`` is, or the exception in its place."""
        self.answer = answer
        self.sheet.settled()


class Sheet:
    """The items of one request."""

    def __init__(self) -> None:
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = 1  # the request itself, until all its items are on their way

    def slip(self, item: Item, replaces: Sequence[str] = ()) -> Slip:
        self._left += 1
        return Slip(item, self, replaces)

    def settled(self) -> None:
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)

    async def answered(self) -> None:
        """Return when every slip has its answer. Once, and after the last slip."""
        self.settled()
        await self._done
