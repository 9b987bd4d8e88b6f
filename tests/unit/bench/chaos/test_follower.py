"""The watch that never gives up: where it resumes, and what it writes down."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.bench.chaos import history
from services.bench.chaos.board import Board
from services.bench.chaos.facts import Begun, PodSeen, Position, WatchBegan, WatchEnded
from services.bench.chaos.follower import Follower
from services.bench.chaos.recorder import Recorder
from services.client.mux import Batch
from services.rpc.status import StatusError, unavailable
from tests.unit.bench.chaos.histories import BOUNDS

ADDED, MODIFIED, DELETED = 1, 2, 3


class FakeMux:
    """Takes subscriptions and gives back what its test says."""

    partition = "tp-1"

    def __init__(self) -> None:
        self.asked: list[int | None] = []
        self.cancelled = 0
        self.later: list[Callable[[], None]] = []

    def subscribe(self, kind: object, request: Any, sink: object) -> FakeMux:
        self.asked.append(request.resource_version if request.HasField("resource_version") else None)
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        assert seconds > 0
        self.later.append(callback)

    def time_passes(self) -> None:
        callbacks, self.later = self.later, []
        for callback in callbacks:
            callback()


class World:
    def __init__(self, path: pathlib.Path) -> None:
        self.mux = FakeMux()
        self.board = Board()
        self.recorder = Recorder(path / "history.jsonl")
        self.recorder.add(Begun(0.0, 1, BOUNDS))
        self.follower = Follower(
            "w", self.mux, PODS, self.recorder, FakeClock(), Rand(1),  # type: ignore[arg-type]
            on_seen=self.board.take, on_reset=self.board.reset,
        ).start()  # fmt: skip

    def told(self, version: int, *events: tuple[int, bytes], end: bool = False) -> None:
        self.follower.on_watch_batch(Batch(version, events, not events, end))

    def written(self) -> history.History:
        with self.recorder:
            pass
        return history.read(self.recorder.path)


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path)


def pod(uid: str, version: int, *, phase: str = "Running", node: str = "n1") -> bytes:
    made = Pod()
    made.metadata.tenant, made.metadata.namespace, made.metadata.name = "t", "default", uid
    made.metadata.uid, made.metadata.resource_version = uid, version
    made.metadata.labels["workload"] = "web"
    made.spec.node_name, made.spec.resource_partition = node, "rp-1"
    made.status.phase = phase
    made.status.conditions.add(type="Ready", status="True")
    return made.SerializeToString()


def test_events_are_written_and_stand_on_the_board(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)), (ADDED, pod("b", 4)), end=True)
    world.told(6, (DELETED, pod("a", 6)))

    assert list(world.board.pods) == ["b"]
    assert [one.uid for one in world.board.live()["web"]] == ["b"]
    found = world.written()
    events = [(one.event, one.uid, one.resource_version, one.node, one.ready) for one in found.of(PodSeen)]
    assert events == [
        ("added", "a", 3, "rp-1/n1", True),
        ("added", "b", 4, "rp-1/n1", True),
        ("deleted", "a", 6, "rp-1/n1", True),
    ]
    assert [(one.resource_version, one.initial_end) for one in found.of(Position)] == [(5, True), (6, False)]
    assert found.pods["a"].key == "/ursa/pods/t/default/a"


def test_a_watch_that_is_lost_resumes_from_where_it_stood(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)), end=True)
    world.follower.on_watch_end(unavailable("lost"))
    world.mux.time_passes()

    assert world.mux.asked == [None, 5]
    assert list(world.board.pods) == ["a"]
    found = world.written()
    assert [one.resource_version for one in found.of(WatchEnded)] == [5]
    assert [one.resource_version for one in found.of(WatchBegan)] == [None, 5]


def test_one_that_is_lost_before_its_state_was_complete_begins_anew(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)))
    world.follower.on_watch_end(unavailable("lost"))
    world.mux.time_passes()

    assert world.mux.asked == [None, None]
    assert not world.board.pods


def test_one_that_has_expired_begins_anew(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)), end=True)
    world.follower.on_watch_end(StatusError(grpc.StatusCode.OUT_OF_RANGE, "Expired", "too old"))
    world.mux.time_passes()

    assert world.mux.asked == [None, None]
    assert not world.board.pods


def test_breaking_off_cancels_and_resumes(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)), end=True)
    world.follower.break_off()
    world.follower.break_off()
    world.mux.time_passes()

    assert world.mux.cancelled == 1
    assert world.mux.asked == [None, 5]


def test_nothing_is_broken_off_while_the_state_comes(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)))
    world.follower.break_off()

    assert world.mux.cancelled == 0


def test_the_board_counts_ready_pods_and_excuses_those_of_nodes_that_are_away(world: World) -> None:
    world.told(5, (ADDED, pod("a", 3)), (ADDED, pod("b", 4, phase="Failed")), end=True)

    assert world.board.missing({"web": 2, "db": 1}, ()) == ["web has 1 of 2 replicas", "db has 0 of 1 replicas"]
    assert [one.uid for one in world.board.terminal()] == ["b"]
    assert world.board.missing({"web": 1}, ()) == []
