"""A client of a multiplexed stream that does not read is not read from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from services.api.pb.ursa.watch.v1.watch_pb2 import CancelWatch, CreateWatch, WatchClientMessage, WatchServerMessage
from services.apiserver import limits
from services.apiserver.multiplex import WatchService
from services.apiserver.overload import Overload
from services.apiserver.watching import Draining
from services.base.rand import Rand
from services.rpc.handlers import Context

MESSAGES = 10_000


class Client:
    """Says what cannot be done, again and again, and reads answers only once it ``reads``."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.said = 0
        self.answers = 0
        self.longest = 0

    async def requests(self) -> AsyncIterator[bytes]:
        wrong = (
            WatchClientMessage(create=CreateWatch(watch_id=1, resource="nosuch")),
            WatchClientMessage(create=CreateWatch(watch_id=1, resource="nodes", gather_ms=-1)),
            WatchClientMessage(cancel=CancelWatch(watch_id=7)),
        )
        encoded = [message.SerializeToString() for message in wrong]
        for number in range(MESSAGES):
            self.said += 1
            yield encoded[number % 3]

    async def send_initial_metadata(self, metadata: Any) -> None:
        pass

    async def write(self, message: bytes) -> None:
        await self.reads.wait()
        count = len(WatchServerMessage.FromString(message).batches)
        self.answers += count
        self.longest = max(self.longest, count)


async def test_answers_that_are_not_read_are_bounded_and_none_is_lost() -> None:
    client = Client()
    service = WatchService({}, cast(Any, None), Draining(), Overload(), Rand(1))
    serving = asyncio.ensure_future(service.watch(client.requests(), cast(Context, client)))
    for _ in range(2 * MESSAGES):
        await asyncio.sleep(0)
    # One message on its way, and the answers of the next.
    assert client.said <= 2 * limits.ANSWERS_PER_STREAM_MAX
    client.reads.set()
    async with asyncio.timeout(30):
        await serving
    assert (client.said, client.answers) == (MESSAGES, MESSAGES)
    assert client.longest <= limits.ANSWERS_PER_STREAM_MAX
