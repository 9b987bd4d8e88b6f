"""When a patient stream's next message is due, on a loop whose time stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable

from services.apiserver.gathering import Gathering


class Handle:
    def __init__(self, due_at: float, callback: Callable[[], None]) -> None:
        self.due_at = due_at
        self.callback = callback
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        handle = Handle(self.now + delay, callback)
        self.handles.append(handle)
        return handle

    @property
    def pending(self) -> list[Handle]:
        return [handle for handle in self.handles if not handle.canceled]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for handle in [handle for handle in self.pending if handle.due_at <= self.now + 1e-9]:
            self.handles.remove(handle)
            handle.callback()


class Patient:
    """A gathering whose messages are sent as soon as they are due; ``sent_at``: when."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.sent_at: list[float] = []
        self.gathering = Gathering(self.loop, self._send)

    def _send(self) -> None:
        self.gathering.sent()
        self.sent_at.append(round(self.loop.now - 100.0, 6))


def test_what_comes_after_a_quiet_time_is_due_at_once() -> None:
    stream = Patient()
    stream.gathering.ask(0.25)
    assert stream.sent_at == [0.0]
    stream.loop.advance(0.3)
    stream.gathering.ask(0.25)
    assert stream.sent_at == [0.0, 0.3]
    assert not stream.loop.pending


def test_a_storm_makes_one_message_per_gathering_time() -> None:
    stream = Patient()
    for _ in range(100):
        stream.gathering.ask(0.25)
        stream.loop.advance(0.01)
    assert stream.sent_at == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_nothing_waits_longer_than_its_gathering_time() -> None:
    stream = Patient()
    stream.gathering.ask(0.25)
    stream.loop.advance(0.24)
    stream.gathering.ask(0.25)
    stream.loop.advance(0.02)
    assert stream.sent_at == [0.0, 0.25 + 0.01]  # the loop was looked at 10 ms late


def test_the_least_patient_watch_decides_when_all_go() -> None:
    stream = Patient()
    stream.gathering.ask(0.0)
    stream.gathering.ask(0.5)
    stream.loop.advance(0.01)
    stream.gathering.ask(0.05)
    assert len(stream.loop.pending) == 1
    stream.loop.advance(0.04)
    assert stream.sent_at == [0.0, 0.05]
    assert not stream.loop.pending, "the patient one went along"


def test_what_may_not_wait_goes_at_once_and_takes_along_what_gathered() -> None:
    stream = Patient()
    stream.gathering.ask(0.0)
    stream.gathering.ask(0.25)
    stream.loop.advance(0.1)
    stream.gathering.ask(0.0)
    assert stream.sent_at == [0.0, 0.1]
    stream.loop.advance(1.0)
    assert stream.sent_at == [0.0, 0.1]


def test_a_more_patient_watch_does_not_put_off_an_earlier_message() -> None:
    stream = Patient()
    stream.gathering.ask(0.05)
    stream.gathering.ask(0.05)
    stream.gathering.ask(0.5)
    stream.loop.advance(0.05)
    assert stream.sent_at == [0.0, 0.05]


def test_a_closed_one_leaves_no_timer() -> None:
    stream = Patient()
    stream.gathering.ask(0.25)
    stream.gathering.ask(0.25)
    assert stream.loop.pending
    stream.gathering.close()
    assert not stream.loop.pending
