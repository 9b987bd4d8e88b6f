"""What makes a run invalid, how latencies are matched, and what a target's verdict is."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from services.api import wire
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.bench import listing, usage, watch
from services.bench.http2 import Messages
from services.bench.targets import RATIOS, TARGETS, target_of
from services.bench.watchers import Tally, Watch
from services.bench.workload import Pods, Wrong, chunks, outcomes, put_requests


def seen(**changes: Any) -> dict[str, Any]:
    return {
        "problems": [],
        "events": 20,
        "fewest": 10,
        "most": 10,
        "lowest_revision": 7,
        "highest_revision": 7,
    } | changes


def test_a_run_in_which_every_watcher_saw_everything_counts() -> None:
    watch.check(seen(), 20, 7, each=True)


@pytest.mark.parametrize(
    ("found", "each", "complaint"),
    [
        pytest.param(seen(problems=["a watch ended"]), True, "a watch ended", id="a watch that ended"),
        pytest.param(seen(events=19), True, "19 of 20", id="a lost event"),
        pytest.param(seen(events=21), True, "21 of 20", id="a repeated event"),
        pytest.param(seen(fewest=9, most=11), False, "9 to 11", id="one has what another lacks"),
        pytest.param(seen(lowest_revision=6), True, "a watcher is at 6", id="the last write is missing"),
    ],
)
def test_a_run_with_a_loss_does_not_count(found: dict[str, Any], each: bool, complaint: str) -> None:
    with pytest.raises(Wrong, match=complaint):
        watch.check(found, 20, 7, each=each)


def test_latency_is_from_acknowledgement_to_each_arrival(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "arrivals.npy"
    arrivals = [(5, 1.5), (5, 1.75), (9, 2.25), (7, 9.9), (12, 0.5), (99, 1.0)]
    np.save(file, np.array(arrivals, dtype=np.float64).T)
    late = watch.latencies(file, {5: 1.0, 9: 2.0, 12: 1.0})
    # 7 and 99 were not acknowledged; 12 overtook its own acknowledgement.
    assert late.tolist() == [0.5, 0.75, 0.25, 0.0]
    assert watch.latencies(file, {}).tolist() == []


def test_a_watch_that_goes_back_is_a_problem() -> None:
    tally = Tally()
    watched = Watch(tally, 3)
    event = wire.watch_event(1, b"", 4)
    newer, older = b"\x10\x04" + event, b"\x10\x03" + event
    watched.take(newer, 0, len(newer))
    assert tally.problems == [] and watched.events == 1
    watched.take(older, 0, len(older))
    assert "3 after one at 4" in tally.problems[0]


def test_events_out_of_order_in_one_batch_are_a_problem() -> None:
    tally = Tally()
    data = b"\x10\x09" + wire.watch_event(1, b"", 8) + wire.watch_event(1, b"", 7)
    Watch(tally, 3).take_each(data, 0, len(data))
    assert "7 after one at 8" in tally.problems[0]
    assert list(tally.revisions) == [8, 7]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_messages_are_whole_however_they_are_cut(size: int) -> None:
    bodies = [b"", b"one", b"x" * 300]
    stream = bytearray(b"".join(b"\0" + len(body).to_bytes(4, "big") + body for body in bodies))
    found: list[bytes] = []
    messages = Messages(lambda data, start, end: found.append(bytes(data[start:end])))
    for position in range(0, len(stream), size):
        messages.receive(stream, position, min(len(stream), position + size))
    assert found == bodies


def test_lists_count_only_when_all_hold_everything() -> None:
    listing.check([5, 5], 5, complete=True, ends=["", ""])
    with pytest.raises(Wrong, match="4, 5"):
        listing.check([5, 4], 5, complete=True, ends=["", ""])
    with pytest.raises(Wrong, match="reset"):
        listing.check([5], 5, complete=False, ends=["reset"])


def test_a_failed_item_of_a_batch_makes_the_run_wrong() -> None:
    response = BatchResponse()
    response.outcomes.add(name="a", resource_version=4)
    assert outcomes(response.SerializeToString()) == 1
    response.outcomes.add(name="b").status.message = "no"
    with pytest.raises(Wrong, match="b was not created"):
        outcomes(response.SerializeToString())


def test_workloads_are_cut_and_named_without_overlap() -> None:
    assert [list(chunk) for chunk in chunks(5, 2, first=10)] == [[10, 11], [12, 13], [14]]
    pods = Pods("a", padding=100)
    assert pods.make(1).metadata.name == pods.name(1) != pods.name(2)
    assert len(pods.create(1)) - len(Pods("a").create(1)) > 100
    assert pods.make(1, node="n").spec.resource_partition
    assert put_requests(1, 200)[0].count(b"x" * 200) == 1


def test_cpu_time_is_read_past_names_with_blanks_and_parentheses() -> None:
    fields = " ".join(["S", *("0" for _ in range(10)), "150", "50", *("0" for _ in range(30))])
    assert usage._cpu_s_of(f"12 (a b) c) {fields}") == pytest.approx(200 / usage._TICKS_PER_S)


def test_shares_are_of_one_core() -> None:
    figures = usage.Interval(2.0, {"server": 1.0}).figures("list")
    assert figures["list_server_cpu_share"].value == 0.5


def test_verdicts() -> None:
    more, less = TARGETS["unary_creates_per_second"], TARGETS["watch_latency_p99"]
    assert [more.verdict(value) for value in (1499, 1500, 2000)] == ["miss", "must", "aim"]
    assert [less.verdict(value) for value in (251, 250, 80)] == ["miss", "must", "aim"]
    relative = target_of("batch_creates_per_second", 1000.0)
    assert relative is not None and (relative.must, relative.aim) == (800.0, 1500.0)
    assert target_of("batch_creates_per_second", None) is None
    assert target_of("no_such_figure", 1.0) is None
    assert not TARGETS.keys() & RATIOS.keys()
