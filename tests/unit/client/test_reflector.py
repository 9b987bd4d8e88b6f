"""The reflector's state machine, transition by transition."""

from __future__ import annotations

import pytest

from services.client.reflector import (
    INITIAL,
    Apply,
    Due,
    Ended,
    Fresh,
    Open,
    Opened,
    Phase,
    Received,
    Replace,
    Retry,
    Stale,
    Start,
    State,
    step,
)
from services.rpc import status

WATCHING = State(Phase.WATCHING, resource_version=7)
ADDED = 1


def test_it_begins_with_a_list() -> None:
    state, outputs = step(INITIAL, Start())
    assert state.phase is Phase.LISTING
    assert outputs == (Open(None),)


def test_a_list_is_applied_only_when_it_is_complete() -> None:
    state, _ = step(INITIAL, Start())
    state, outputs = step(state, Received([(ADDED, "a")], 5))
    assert outputs == ()
    state, outputs = step(state, Received([(ADDED, "b")], 6, initial_events_end=True))
    assert outputs == (Replace(([(ADDED, "a")], [(ADDED, "b")])), Fresh())
    assert state == State(Phase.WATCHING, 6)


def test_an_empty_list_is_a_list() -> None:
    state, _ = step(INITIAL, Start())
    state, outputs = step(state, Received([], 6, initial_events_end=True))
    assert outputs == (Replace(()), Fresh())


def test_a_list_that_breaks_off_begins_anew_and_applies_nothing() -> None:
    state, _ = step(INITIAL, Start())
    state, _ = step(state, Received([(ADDED, "a")], 5))
    state, outputs = step(state, Ended(status.unavailable("lost")))
    assert not any(isinstance(output, Replace | Apply) for output in outputs)
    state, outputs = step(state, Due())
    assert outputs == (Open(None),)
    assert state.buffer == ()


def test_events_and_bookmarks_move_the_resume_point() -> None:
    state, outputs = step(WATCHING, Received([(ADDED, "a")], 9))
    assert (state.resource_version, outputs) == (9, (Apply([(ADDED, "a")]),))
    state, outputs = step(state, Received([], 12))
    assert (state.resource_version, outputs) == (12, ())


def test_a_lost_stream_resumes_where_it_was() -> None:
    state, outputs = step(WATCHING, Ended(status.unavailable("lost", retry_after_s=2.0)))
    assert isinstance(outputs[0], Stale)
    assert outputs[1] == Retry(1, 2.0)
    state, outputs = step(state, Due())
    assert (state.phase, outputs) == (Phase.WATCHING, (Open(7),))
    _, outputs = step(state, Opened())
    assert outputs == (Fresh(),)


@pytest.mark.parametrize(
    "error",
    [status.expired("compacted"), status.bad_field("resource_version", "no number")],
)
def test_a_position_that_the_server_refuses_is_forgotten(error: status.StatusError) -> None:
    state, _ = step(WATCHING, Ended(error))
    _, outputs = step(state, Due())
    assert outputs == (Open(None),)


def test_failures_in_a_row_are_counted_until_something_arrives() -> None:
    state = WATCHING
    for expected in (1, 2, 3):
        state, outputs = step(state, Ended(status.unavailable("lost")))
        assert outputs[-1] == Retry(expected, 1.0)
        state, _ = step(state, Due())
    state, _ = step(state, Received([], 8))
    assert state.failures == 0


def test_a_watch_whose_time_is_over_goes_on_at_once_and_stays_fresh() -> None:
    state, outputs = step(WATCHING, Ended(status.watch_ended()))
    assert (state.phase, outputs) == (Phase.WATCHING, (Open(7),))
    state, _ = step(state, Opened())
    # Again, and nothing came in between: this could go on for ever.
    again, outputs = step(state, Ended(status.watch_ended()))
    assert [type(output) for output in outputs] == [Stale, Retry] and again.phase is Phase.WAITING
    state, _ = step(state, Received([], 8))
    assert step(state, Ended(status.watch_ended()))[1] == (Open(8),)


def test_a_list_whose_time_is_over_begins_anew_after_a_pause() -> None:
    listing, _ = step(INITIAL, Start())
    assert [type(output) for output in step(listing, Ended(status.watch_ended()))[1]] == [Stale, Retry]


def test_what_arrives_after_the_end_is_ignored() -> None:
    state, _ = step(WATCHING, Ended(status.unavailable("lost")))
    after, outputs = step(state, Received([(ADDED, "late")], 99))
    assert (after, outputs) == (state, ())
