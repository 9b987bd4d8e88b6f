"""A process that storms one partition with creates, lists and openings of watches, and counts the answers.

``python -m tests.integration.overload.storm ENDPOINT TENANT SECONDS``; prints one JSON object. The storm is of pods of
the tenant; without a tenant ("") of nodes.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys
from typing import Any

import uvloop

from services.api import kinds
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.client.clientset import Clientset
from services.rpc import methods
from services.rpc.channel import make_channel
from services.rpc.status import StatusError, from_rpc_error
from tests.integration.apiserver.world import named, pod

CREATORS, LISTERS, WATCHERS, FAT = 400, 40, 120, 4


async def main(endpoint: str, tenant: str, seconds: float) -> None:
    answers: collections.Counter[str] = collections.Counter()
    unexplained: list[str] = []
    channels = [make_channel([endpoint]) for _ in range(4)]
    clients = [Clientset(channel) for channel in channels]
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds

    def note(what: str, error: StatusError | None) -> None:
        if error is None:
            answers[f"{what} OK"] += 1
            return
        answers[f"{what} {error.code.name} {error.reason}"] += 1
        if error.reason == "TooManyRequests" and not error.retry_after_s:
            unexplained.append(f"{what}: no RetryInfo")

    kind = kinds.PODS if tenant else kinds.NODES

    def made(name: str, *, fat: bool) -> Any:
        obj: Any = pod(tenant, name) if tenant else named(kinds.NODES, name)
        if fat and tenant:
            obj.spec.containers[0].args.append("x" * 900_000)
        elif fat:
            obj.metadata.annotations["padding"] = "x" * 200_000
        return obj

    async def creating(number: int) -> None:
        resource = clients[number % 4].resource(kind)
        turn = 0
        while loop.time() < end_s:
            turn += 1
            try:
                await resource.create(made(f"storm-{number}-{turn}", fat=number < FAT and turn <= 3))
                note("create", None)
            except StatusError as error:
                note("create", error)

    async def listing(number: int) -> None:
        while loop.time() < end_s:
            try:
                await clients[number % 4].resource(kind).list(tenant=tenant)
                note("list", None)
            except StatusError as error:
                note("list", error)

    async def watching(number: int) -> None:
        method: Any = channels[number % 4].unary_stream(
            methods.path(kind, "Watch"), request_serializer=WatchRequest.SerializeToString
        )
        while loop.time() < end_s:
            call = method(WatchRequest(tenant=tenant), timeout=20)
            try:
                await call.read()
                note("watch", None)
            except Exception as failure:
                note("watch", from_rpc_error(failure))  # type: ignore[arg-type]
            finally:
                call.cancel()

    async with asyncio.TaskGroup() as tasks:
        for work, count in ((creating, CREATORS), (listing, LISTERS), (watching, WATCHERS)):
            for number in range(count):
                tasks.create_task(work(number))
    for channel in channels:
        await channel.close()
    print(json.dumps({"answers": answers, "unexplained": unexplained}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
