"""A run on a terminal is a bar and a table, elsewhere a plain line now and then; heartbeat and chaos say what theirs is
about."""

from __future__ import annotations

import asyncio
import io
import re

import pytest
from rich.console import Console

from services.base.clock import FakeClock
from services.bench.chaos import progress as chaos
from services.bench.chaos.board import Board
from services.bench.chaos.facts import PodSeen
from services.bench.chaos.parameters import ChaosParameters
from services.bench.heartbeat import progress as heartbeat
from services.bench.heartbeat.renewals import ACKNOWLEDGED
from services.bench.heartbeat.witness import Witness
from services.bench.observe.scraping import Increase
from services.bench.player.display import Display

QUICK = ChaosParameters().quick()


class Screen:
    """A display, and what is written there."""

    def __init__(self, *, terminal: bool) -> None:
        self.clock = FakeClock()
        self._file = io.StringIO()
        # Whatever terminal the tests run in.
        console = Console(
            file=self._file, force_terminal=terminal, force_interactive=terminal, width=120, height=40,
            highlight=False, _environ={"TERM": "xterm"},
        )  # fmt: skip
        self.display = Display(self.clock, console)

    @property
    def raw(self) -> str:
        return self._file.getvalue()

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)


def test_a_line_that_stays_leaves_the_table_as_it_is() -> None:
    screen = Screen(terminal=True)
    with screen.display:
        screen.display.step("holding", 60)
        screen.display.update(30, {"nodes Ready": "200/200"})
        assert screen.display._live is not None
        screen.display._live.refresh()
        screen.display.say("a [line] with brackets")
    assert "a [line] with brackets" in screen.text and "[dim]" not in screen.text


class FakeHost:
    """Acknowledges so many renewals a reading; of each as many fail. ``None``: it does not answer."""

    def __init__(self, *answers: int | None) -> None:
        self._answers = iter(answers)
        self.readings = 0

    async def scrape(self) -> Increase:
        self.readings += 1
        answer = next(self._answers)
        if answer is None:
            raise OSError("nobody there")
        labels = [(("outcome", outcome), ("partition", "rp-1")) for outcome in ("ok", "failed")]
        return Increase({(ACKNOWLEDGED, of): float(answer) for of in labels})


class FakeObserver:
    def cores(self) -> float:
        return 0.25


async def beat(screen: Screen) -> None:
    witness = Witness(2_000, ready=1_500, violations=["rp-1/beat-a was deleted"])
    pulse = heartbeat.Pulse([FakeHost(0, 90), FakeHost(0, 60)], 2.0, screen.clock)
    with screen.display:
        progress = heartbeat.Progress(screen.display, witness, pulse, FakeObserver())
        progress.step("holding", 60.0)
        await progress.show(27.0, 33.0)
        await screen.clock.advance(3.0)
        await progress.show(30.0, 30.0)


async def test_heartbeat_on_a_terminal_is_a_bar_and_a_table() -> None:
    screen = Screen(terminal=True)
    await beat(screen)
    assert "\x1b[" in screen.raw and "━" in screen.text
    assert re.search(r"holding ━+.* 50 %", screen.text)
    assert re.search(r"nodes Ready +renewals/s +cores +violations +seconds left", screen.text)
    assert re.search(r"1,500/2,000 +50 +0\.25 +1 +30\n", screen.text)


async def test_heartbeat_elsewhere_is_plain_lines() -> None:
    screen = Screen(terminal=False)
    await beat(screen)
    assert screen.raw.splitlines() == [
        "holding: 27/60  nodes Ready 1,500/2,000  renewals/s –  cores 0.25  violations 1  seconds left 33",
        "holding: 30/60  nodes Ready 1,500/2,000  renewals/s 50  cores 0.25  violations 1  seconds left 30",
    ]


async def test_kubelet_hosts_are_not_read_more_often_than_they_renew_and_may_be_silent() -> None:
    clock, host, starting = FakeClock(), FakeHost(0, 100, 30), FakeHost(None, 0, 70)
    pulse = heartbeat.Pulse([host, starting], 10.0, clock)
    for _ in range(20):
        await pulse.look()
        await clock.advance(1.0)
    assert host.readings == starting.readings == 2
    assert pulse.per_second == pytest.approx(10.0)
    await pulse.look()
    assert pulse.per_second == pytest.approx(10.0) and host.readings == 3


def standing(injected: int = 3) -> chaos.Standing:
    return chaos.Standing(injected=injected, acknowledged=1_234, running=96)


async def rage(screen: Screen) -> None:
    with screen.display:
        progress = chaos.Progress(screen.display, QUICK, screen.clock)
        progress.step_faults()
        running = asyncio.get_running_loop().create_task(progress.run(standing))
        await screen.clock.advance(10.0)
        progress.checked(violations=0)
        progress.checked(violations=2)
        progress.say("rp-kill: SIGKILL of rp-1")
        await screen.clock.advance(4.0)
        running.cancel()


async def test_chaos_on_a_terminal_is_a_bar_and_a_table_under_what_happened() -> None:
    screen = Screen(terminal=True)
    await rage(screen)
    assert "10.0 s  rp-kill: SIGKILL of rp-1" in screen.text
    assert re.search(r"faults ━+.* 14 %", screen.text)
    assert re.search(r"faults +acknowledged +Running +violations +seconds left", screen.text)
    # 2 of 14 faults took 14 s.
    assert re.search(r" 3 +1,234 +96 +2 +84\n", screen.text)


async def test_chaos_elsewhere_is_plain_lines() -> None:
    screen = Screen(terminal=False)
    await rage(screen)
    lines = screen.raw.splitlines()
    assert "\x1b" not in screen.raw
    assert lines[0] == "faults: 0/100  faults 3  acknowledged 1,234  Running 96  violations 0  seconds left –"
    assert lines[-1] == "faults: 14/100  faults 3  acknowledged 1,234  Running 96  violations 2  seconds left 84"


@pytest.mark.parametrize(
    ("parameters", "passed_s", "checked", "left_s"),
    [
        (ChaosParameters(faults=("rp-kill",), minutes=10.0), 60.0, 0, 540.0),
        (ChaosParameters(faults=("rp-kill", "tp-kill"), minutes=1.0), 90.0, 1, 90.0),
        (ChaosParameters(faults=("rp-kill",), minutes=1.0), 90.0, 1, 0.0),
        (ChaosParameters(faults=("node-death",), minutes=0.0), 0.0, 0, ChaosParameters(minutes=0.0).away_s),
    ],
    ids=["time", "a round that is not finished", "over", "nodes that stay away"],
)
def test_faults_go_on_for_a_time_and_a_whole_round(
    parameters: ChaosParameters, passed_s: float, checked: int, left_s: float
) -> None:
    assert chaos.Faults.of(parameters).left_s(passed_s, checked) == pytest.approx(left_s)


def test_pods_that_are_running_are_counted_from_the_watch() -> None:
    board = Board()
    for uid, phase in (("a", "Running"), ("b", "Pending"), ("c", "Running"), ("d", "Failed")):
        board.take(PodSeen(1.0, "w", "tp-1", "added", 1, f"/p/{uid}", uid, phase=phase))
    assert board.running() == 2
