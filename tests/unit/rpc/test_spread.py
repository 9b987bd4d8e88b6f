"""Which of several endpoints a call goes to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest

from services.rpc.spread import SpreadChannel

READY = grpc.ChannelConnectivity.READY
IDLE = grpc.ChannelConnectivity.IDLE
CONNECTING = grpc.ChannelConnectivity.CONNECTING
BROKEN = grpc.ChannelConnectivity.TRANSIENT_FAILURE
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class FakeCall:
    """``end`` it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._callbacks: list[Callable[[Any], None]] = []
        self._code = grpc.StatusCode.OK

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    async def code(self) -> grpc.StatusCode:
        return self._code

    def end(self, code: grpc.StatusCode) -> None:
        self._code = code
        for callback in self._callbacks:
            callback(self)


class FakeChannel:
    """Its calls tell its name."""

    def __init__(self, name: str, state: grpc.ChannelConnectivity) -> None:
        self.name = name
        self.state = state
        self.asked_to_connect = False

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        self.asked_to_connect |= try_to_connect
        return self.state

    def unary_unary(self, path: str, **options: Any) -> Callable[[], FakeCall]:
        return lambda: FakeCall(self.name)


class World:
    """``call`` is one multicallable, as a stub has it. Endpoints are a, b, c, in the given states."""

    def __init__(self, *states: grpc.ChannelConnectivity, sticky: bool = False, start: int = 0) -> None:
        self.channels = [FakeChannel(name, state) for name, state in zip("abc", states, strict=False)]
        endpoints = [(channel.name, cast(grpc.aio.Channel, channel)) for channel in self.channels]
        self.spread = SpreadChannel(endpoints, sticky=sticky, start=start)
        self.call: Callable[[], FakeCall] = self.spread.unary_unary("/a.B/C")

    def names(self, count: int) -> str:
        return "".join(self.call().name for _ in range(count))


def test_calls_go_round_those_that_are_connected() -> None:
    assert World(READY, READY, READY).names(6) == "abcabc"
    assert World(READY, READY, READY, start=2).names(4) == "cabc"
    assert World(READY, BROKEN, READY).names(4) == "acac"
    assert World(READY, CONNECTING, IDLE).names(4) == "aaaa"


def test_with_none_connected_a_call_waits_for_one_that_may_yet_be() -> None:
    assert World(BROKEN, CONNECTING, BROKEN).names(2) == "bb"
    assert World(BROKEN, IDLE, CONNECTING).names(4) == "bcbc"


def test_with_all_broken_each_is_tried_in_its_turn() -> None:
    assert World(BROKEN, BROKEN).names(4) == "abab"


def test_idle_ones_are_asked_to_connect_at_once_and_again_with_every_call() -> None:
    world = World(READY, IDLE)
    assert world.channels[1].asked_to_connect
    world.channels[1].asked_to_connect = False
    world.call()
    assert world.channels[1].asked_to_connect


def test_the_choice_is_made_when_a_method_is_called_not_when_it_is_made() -> None:
    world = World(READY, BROKEN)
    assert world.names(2) == "aa"
    world.channels[0].state, world.channels[1].state = BROKEN, READY
    assert world.names(2) == "bb"


def test_sticky_calls_stay_and_leave_what_is_disconnected_for_good() -> None:
    world = World(READY, READY, READY, sticky=True)
    assert world.names(3) == "aaa"
    world.channels[0].state = BROKEN
    assert world.names(2) == "bb"
    world.channels[0].state = READY
    assert world.names(2) == "bb"


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_after_a_failure_sticky_calls_go_to_another_that_is_connected(code: grpc.StatusCode) -> None:
    world = World(READY, READY, READY, sticky=True)
    world.call().end(code)
    assert world.names(3) == "bbb"


def test_calls_that_fail_together_leave_their_endpoint_once() -> None:
    world = World(READY, READY, READY, sticky=True)
    for call in [world.call() for _ in range(3)]:
        call.end(UNAVAILABLE)
    assert world.names(2) == "bb"


def test_what_failed_is_avoided_as_long_as_another_may_be_reached() -> None:
    world = World(READY, CONNECTING, BROKEN, sticky=True)
    world.call().end(UNAVAILABLE)
    assert world.names(1) == "b"
    world.channels[1].state = BROKEN
    assert world.names(1) == "a"
    world.channels[2].state = READY
    assert world.names(1) == "c"


@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.INVALID_ARGUMENT])
def test_an_answer_is_no_reason_to_leave(code: grpc.StatusCode) -> None:
    world = World(READY, READY, sticky=True)
    world.call().end(code)
    assert world.names(2) == "aa"


@pytest.mark.parametrize(
    ("states", "together"),
    [
        ((BROKEN, READY, IDLE), READY),
        ((BROKEN, CONNECTING, IDLE), CONNECTING),
        ((BROKEN, BROKEN, IDLE), IDLE),
        ((BROKEN, BROKEN, BROKEN), BROKEN),
        ((grpc.ChannelConnectivity.SHUTDOWN,) * 3, grpc.ChannelConnectivity.SHUTDOWN),
    ],
)
def test_together_they_are_as_well_as_the_best(
    states: tuple[grpc.ChannelConnectivity, ...], together: grpc.ChannelConnectivity
) -> None:
    assert World(*states).spread.get_state() is together


def test_an_endpoint_that_is_missed_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(READY, BROKEN)
    world.names(3)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["endpoint b cannot be reached"]
    world.channels[1].state = READY
    world.names(3)
    assert caplog.messages[1:] == ["endpoint b is reached again"]
