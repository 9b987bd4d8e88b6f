"""What this process may say about time: only what its pulses prove."""

from __future__ import annotations

import pytest

from services.controllers.nodes.proof import Proof


def proof() -> Proof:
    made = Proof(blind_after_s=8.0)
    made.connected(True)
    return made


def beat(made: Proof, mark: int, sent_at: float, seen_at: float | None = None) -> bool:
    made.sent(mark, sent_at)
    return made.seen(mark, sent_at + 0.1 if seen_at is None else seen_at)


def test_nothing_is_proven_before_the_first_pulse_is_back() -> None:
    made = proof()
    made.sent(1, 5.0)
    assert made.proven_at is None and not made.current(5.0)


def test_the_first_pulse_begins_and_the_next_ones_go_on() -> None:
    made = proof()
    assert beat(made, 1, 5.0)
    assert made.since == 5.1 and made.proven_at == 5.0 and made.current(5.2)
    assert not beat(made, 2, 7.0)
    assert made.since == 5.1 and made.proven_at == 7.0


def test_a_pulse_proves_until_it_was_sent_however_late_it_comes() -> None:
    made = proof()
    beat(made, 1, 5.0)
    assert not beat(made, 2, 7.0, seen_at=60.0)
    assert made.proven_at == 7.0 and not made.current(60.0)


@pytest.mark.parametrize(("gap_s", "blind"), [(2.0, False), (8.0, False), (8.5, True), (600.0, True)])
def test_a_gap_between_pulses_is_blindness(gap_s: float, blind: bool) -> None:
    made = proof()
    beat(made, 1, 10.0)
    assert beat(made, 2, 10.0 + gap_s) is blind
    assert made.since == (10.1 + gap_s if blind else 10.1)


def test_without_a_watch_nothing_is_current_and_its_return_is_a_beginning() -> None:
    made = proof()
    beat(made, 1, 5.0)
    made.connected(False)
    assert made.proven_at is None and not made.current(5.2)
    made.connected(True)
    assert not made.current(5.3)
    assert beat(made, 2, 6.0)


def test_a_pulse_that_was_sent_over_a_lost_watch_proves_nothing() -> None:
    made = proof()
    beat(made, 1, 5.0)
    made.sent(2, 7.0)
    made.connected(False)
    made.connected(True)
    assert not made.seen(2, 7.5) and made.proven_at is None


def test_another_ones_pulse_proves_nothing() -> None:
    made = proof()
    made.sent(1, 5.0)
    assert not made.seen(99, 5.1) and made.proven_at is None
    assert made.seen(1, 5.2)
    assert not made.seen(1, 5.3)  # once


def test_a_watch_slower_than_the_pulses_come_proves_all_the_same() -> None:
    made = proof()
    for number in range(20):
        made.sent(number, 2.0 * number)
        if number >= 2:  # each is shown when the next but one has been sent
            made.seen(number - 2, 2.0 * number + 0.5)
    assert made.proven_at == 34.0 and made.current(38.5) and made.blindnesses == 1


def test_pulses_that_never_come_back_are_given_up() -> None:
    made = proof()
    for number in range(1000):
        made.sent(number, 2.0 * number)
    assert len(made._sent) <= 5
    assert not made.seen(1, 2000.0) and made.proven_at is None
