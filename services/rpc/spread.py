"""One channel over several endpoints, each of which gRPC resolves, verifies and connects to by itself."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Any

import grpc

from services.base.tasks import first_of

_log = logging.getLogger(__name__)

_State = grpc.ChannelConnectivity
# gRPC's own rule for what several subchannels are together (its ``connectivity-semantics-and-api.md``).
_TOGETHER = (_State.READY, _State.CONNECTING, _State.IDLE, _State.TRANSIENT_FAILURE)
_MAY_BE_REACHED = (_State.IDLE, _State.CONNECTING)
_FAILED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class SpreadChannel(grpc.aio.Channel):
    """``endpoints``: name and channel of each; they are closed with this one. The endpoint is chosen for every call.

    Not ``sticky``: calls go round those that are connected. ``sticky``: they stay with one until it is disconnected or
    a call to it fails with UNAVAILABLE or DEADLINE_EXCEEDED; the next one is used then, and that one avoided until
    another fails. If none is connected, a call waits for the connection to one that is not known to be unreachable.
    ``start``: the index of the first to use.
    """

    def __init__(self, endpoints: Sequence[tuple[str, grpc.aio.Channel]], *, sticky: bool = False, start: int = 0):
        self._endpoints = [_Endpoint(index, name, channel) for index, (name, channel) in enumerate(endpoints)]
        self._sticky = sticky
        self._next = start % len(self._endpoints)
        self._avoided: _Endpoint | None = None
        self.get_state(try_to_connect=True)

    # -- calls

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        return _Method(self, [each.channel.unary_unary(*args, **options) for each in self._endpoints])

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        return _Method(self, [each.channel.unary_stream(*args, **options) for each in self._endpoints])

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        return _Method(self, [each.channel.stream_unary(*args, **options) for each in self._endpoints])

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        return _Method(self, [each.channel.stream_stream(*args, **options) for each in self._endpoints])

    def begin(self, methods: Sequence[Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call the chosen endpoint's of ``methods``."""
        chosen = self._choose()
        call = methods[chosen.index](*args, **options)
        if self._sticky:
            call.add_done_callback(functools.partial(self._ended, chosen))
        return call

    def _choose(self) -> _Endpoint:
        # Each is looked at every time: that has it reconnect, and those that are not used are missed in the log.
        ranks = [self._rank(endpoint) for endpoint in self._endpoints]
        count = len(ranks)
        index = min(range(count), key=lambda index: (ranks[index], (index - self._next) % count))
        self._next = index if self._sticky else (index + 1) % count
        return self._endpoints[index]

    def _rank(self, endpoint: _Endpoint) -> int:
        """The lower, the better."""
        state = endpoint.look()
        if state is not _State.READY and state not in _MAY_BE_REACHED:
            return 4
        # One that is connected and has failed (an etcd without a leader) is worth less than one yet to be connected.
        return (0 if state is _State.READY else 1) + (2 if endpoint is self._avoided else 0)

    def _ended(self, endpoint: _Endpoint, call: Any) -> None:
        if _code_of(call) not in _FAILED:
            return
        self._avoided = endpoint
        # Many calls fail together, their endpoint is left once.
        if self._next == endpoint.index:
            self._next = (endpoint.index + 1) % len(self._endpoints)

    # -- connections

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        states = [each.channel.get_state(try_to_connect) for each in self._endpoints]
        return next((state for state in _TOGETHER if state in states), _State.SHUTDOWN)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        while self.get_state() is last_observed_state:
            channels = [each.channel for each in self._endpoints]
            await first_of(*(channel.wait_for_state_change(channel.get_state()) for channel in channels))

    async def channel_ready(self) -> None:
        while (state := self.get_state(try_to_connect=True)) is not _State.READY:
            if state is _State.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        await asyncio.gather(*(each.channel.close(grace) for each in self._endpoints))

    async def __aenter__(self) -> SpreadChannel:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()


class _Endpoint:
    def __init__(self, index: int, name: str, channel: grpc.aio.Channel) -> None:
        self.index = index
        self.name = name
        self.channel = channel
        self._missed = False

    def look(self) -> grpc.ChannelConnectivity:
        """Its state now. An idle one begins to connect."""
        state = self.channel.get_state(try_to_connect=True)
        if state is _State.TRANSIENT_FAILURE and not self._missed:
            self._missed = True
            _log.warning("endpoint %s cannot be reached, or its name is unknown", self.name)
        elif state is _State.READY and self._missed:
            self._missed = False
            _log.info("endpoint %s is reached again", self.name)
        return state


class _Method:
    """A multicallable: made once, called many times."""

    __slots__ = ("_channel", "_methods")

    def __init__(self, channel: SpreadChannel, methods: Sequence[Any]) -> None:
        self._channel = channel
        self._methods = methods

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._channel.begin(self._methods, args, options)


def _code_of(call: Any) -> grpc.StatusCode | None:
    """Of a call that is done: there is nothing that ``code()`` would wait for, and no task is needed to ask it."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as answer:
        code: grpc.StatusCode = answer.value
        return code
    asking.close()
    return None
