"""A run counts only if each acknowledged pod ran once, on a node that exists, and none was lost or moved."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodWatchBatch
from services.base.timeline import Mark, Stage
from services.bench.histograms import Histogram
from services.bench.observe import objectives
from services.bench.observe.observations import ApiInterval, Component, Observations
from services.bench.observe.stages import collect_stages
from services.bench.player import accounts, results, sightings
from services.bench.player.journal import Journal
from services.bench.player.requests import Request, Resource, Verb
from services.bench.player.results import Played, StepTimes
from services.bench.player.sightings import ADDED, DELETED, MODIFIED, Sightings
from services.bench.report import Figure

NODES = {"rp-1/n-1", "rp-2/n-1"}


class World:
    """A driver's journal and a witness' sightings, fed by hand."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._file = directory / "sightings.npz"
        self.journal = Journal()
        self.seen = Sightings()

    def create(self, *uids: str, due: float = 0.0, step: str = "saturate", lifetime_s: float = 0.0) -> None:
        for index, uid in enumerate(uids):
            lifetimes = (lifetime_s,) if lifetime_s else ()
            request = Request(
                due, step, Verb.CREATE, Resource.PODS, "t", "default", step, "pause", index, 1, lifetimes_s=lifetimes
            )
            self.journal.created(request, [uid], due, due + 0.1)
            self.journal.answer(request, due, due, due + 0.1, 0)

    def watch(
        self,
        kind: int,
        uid: str,
        now: float,
        *,
        node: tuple[str, str] = ("", ""),
        phase: str = "",
        ending: bool = False,
    ) -> None:
        batch = PodWatchBatch()
        event = batch.events.add(type=kind)  # type: ignore[arg-type]
        event.object.metadata.uid, event.object.metadata.name = uid, f"pod-{uid}"
        event.object.spec.resource_partition, event.object.spec.node_name = node
        event.object.status.phase = phase
        if ending:
            event.object.metadata.deletion_timestamp.seconds = 5
        self.seen.take(batch.events, now)

    def runs(self, uid: str, *, at: float, node: tuple[str, str] = ("rp-1", "n-1")) -> None:
        self.watch(ADDED, uid, at - 0.3)
        self.watch(MODIFIED, uid, at - 0.2, node=node)
        self.watch(MODIFIED, uid, at, node=node, phase="Running")

    def settle(self, *marks: Mark) -> accounts.Account:
        self.seen.save(self._file)
        self.table = sightings.load(self._file)
        return accounts.settle(self.journal, self.table, NODES, self.seen.problems, marks or None)


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path)


def test_a_run_in_which_everything_ran_counts(world: World) -> None:
    world.create("a", "b")
    world.runs("a", at=0.5)
    world.runs("b", at=2.0, node=("rp-2", "n-1"))
    marks = [Mark(Stage.RUN, "a", at, "rp-1/n-1") for at in (1, 2)]
    account = world.settle(*marks, Mark(Stage.RUN, "b", 3, "rp-2/n-1"))
    assert account.problems == () and account.withdrawn == 0
    counts = world.seen.counts
    assert (counts.seen, counts.bound, counts.running, counts.there_ran, counts.most_running) == (2, 2, 2, 2, 2)


def test_a_pod_that_was_never_seen_is_lost(world: World) -> None:
    world.create("a", "b")
    world.runs("a", at=0.5)
    assert world.settle().problems == ("1 acknowledged pods were never seen by a watch, as b",)


def test_a_pod_that_never_ran_is_named(world: World) -> None:
    world.create("a")
    world.watch(ADDED, "a", 0.1, node=("rp-1", "n-1"))
    assert world.settle().problems == ("1 acknowledged pods were not Running, as a",)


def test_a_pod_that_goes_away_unasked_has_vanished(world: World) -> None:
    world.create("a")
    world.runs("a", at=0.5)
    world.watch(DELETED, "a", 0.9)
    assert world.settle().problems == ("1 acknowledged pods vanished, as a",)


def test_a_deleted_pod_and_a_collected_job_have_not_vanished(world: World) -> None:
    world.create("asked", "early")
    world.create("job", lifetime_s=1.0)
    world.runs("asked", at=0.5)
    world.watch(MODIFIED, "asked", 0.8, node=("rp-1", "n-1"), phase="Succeeded", ending=True)
    world.watch(DELETED, "asked", 0.9)
    world.watch(ADDED, "early", 0.2)
    world.watch(DELETED, "early", 0.3)
    world.runs("job", at=0.5)
    world.watch(MODIFIED, "job", 1.5, node=("rp-1", "n-1"), phase="Succeeded")
    world.watch(DELETED, "job", 9.0)
    world.journal.asked_to_delete(["asked", "early"], 0.6)
    account = world.settle()
    assert account.problems == () and account.withdrawn == 1
    counts = world.seen.counts
    assert (counts.ended, counts.ended_alone, counts.collected) == (2, 1, 1)
    assert (counts.there, counts.there_ran, counts.running) == (0, 0, 0)


def test_a_short_job_whose_end_alone_was_reported_ran(world: World) -> None:
    world.create("job", lifetime_s=0.1)
    world.watch(ADDED, "job", 0.1)
    world.watch(MODIFIED, "job", 0.4, node=("rp-1", "n-1"), phase="Succeeded")
    assert world.settle().problems == ()
    assert world.seen.counts.ran == 1 and world.seen.counts.running == 0


@pytest.mark.parametrize(
    ("node", "phase", "complaint"),
    [
        pytest.param(("rp-2", "n-1"), "Running", "was bound twice: to rp-1/n-1 and rp-2/n-1", id="moved"),
        pytest.param(("rp-1", "n-1"), "Failed", "pod pod-a (a) failed", id="failed"),
    ],
)
def test_what_must_never_be_seen(world: World, node: tuple[str, str], phase: str, complaint: str) -> None:
    world.create("a")
    world.runs("a", at=0.5)
    world.watch(MODIFIED, "a", 0.7, node=node, phase=phase)
    assert any(complaint in problem for problem in world.settle().problems)


def test_a_pod_that_runs_again_after_its_end(world: World) -> None:
    world.create("a")
    world.runs("a", at=0.5)
    world.watch(MODIFIED, "a", 0.7, node=("rp-1", "n-1"), phase="Succeeded")
    world.watch(MODIFIED, "a", 0.8, node=("rp-1", "n-1"), phase="Running")
    assert world.settle().problems == ("pod a runs after it had ended",)


def test_a_node_that_does_not_exist(world: World) -> None:
    world.create("a")
    world.runs("a", at=0.5, node=("rp-1", "n-9"))
    assert world.settle().problems == ("pods on nodes that do not exist: rp-1/n-9",)


def test_runtimes_that_both_ran_a_pod(world: World) -> None:
    world.create("a")
    world.runs("a", at=0.5)
    marks = (
        Mark(Stage.RUN, "a", 1, "rp-1/n-1"),
        Mark(Stage.END, "a", 2, "rp-1/n-1"),
        Mark(Stage.RUN, "a", 3, "rp-2/n-1"),
    )
    assert world.settle(*marks).problems == ("pod a ran on rp-1/n-1 and on rp-2/n-1",)


def test_pods_that_are_in_no_run_journal_were_judged_by_nobody(world: World) -> None:
    world.create("a", "b")
    world.runs("a", at=1.0)
    world.runs("b", at=1.0)
    told = Mark(Stage.RUN, "a", 1, "rp-1/n-1")
    assert world.settle(told).problems == ("1 pods ran and are in no run journal, as b",)
    others = Mark(Stage.SEEN, "b", 1, "")
    assert world.settle(told, others).problems == ("1 pods ran and are in no run journal, as b",)


def test_a_controllers_pod_that_does_not_run(world: World) -> None:
    world.watch(ADDED, "of-a-replica-set", 0.1)
    assert world.settle().problems == ("1 pods of workloads were not Running, as of-a-replica-set",)


def test_one_uid_for_two_creates(world: World) -> None:
    world.create("a", "a")
    world.runs("a", at=0.5)
    assert world.settle().problems == ("two creates were acknowledged with the same uid",)


def test_figures_of_a_run(world: World) -> None:
    world.create("a", due=0.0)
    world.create("b", due=1.0)
    world.create("late", due=5.0, step="latency")
    for uid, at in (("a", 0.5), ("b", 2.0), ("late", 5.25)):
        world.runs(uid, at=at)
    account = world.settle()
    steps = (StepTimes("saturate", 0.0, 1.1, 2.0, False), StepTimes("latency", 5.0, 5.1, 5.3, True))
    played = Played(world.journal, world.table, account, world.seen.counts, steps, 2, 0.0)
    found = results.figures(played, collect_stages([], results.watched(played)), None)
    values = {name: figure.value for name, figure in found.items()}
    # What was paced is what start-up means; the other steps have names of their own.
    assert values["pod_startup_p99"] == values["latency_startup_p50"] == pytest.approx(250.0)
    assert values["saturation_startup_p50"] == pytest.approx(500.0)
    assert values["saturation_startup_p99"] == pytest.approx(1000.0)
    assert values["all_running"] == pytest.approx(2.0) and values["pods_running_per_second"] == pytest.approx(1.0)
    assert values["pods_running_at_once"] == 3 and values["nodes_used"] == 1
    assert values["player_create_pods_p99"] == pytest.approx(100.0)
    assert found["pod_startup_p99"].reference == 5000.0


def test_what_a_pod_costs(world: World) -> None:
    world.create("a", "b")
    world.runs("a", at=0.5)
    world.runs("b", at=0.5)
    account = world.settle()
    played = Played(world.journal, world.table, account, world.seen.counts, (), 2, 0.0)
    processes = {
        name: Component(name, "etcd" if "etcd" in name else "server", *(np.array(row) for row in ([0.0, 10.0], used)))
        for name, used in (("etcd-1", [0.0, 0.1]), ("etcd-2", [1.0, 1.3]), ("tp-1", [0.0, 0.6]))
    }
    observed = Observations(0.0, 0.0, 10.0, processes, {}, {}, (), {}, (), 0.0)
    found = results.figures(played, collect_stages([], results.watched(played)), observed)
    values = {name: figure.value for name, figure in found.items()}
    assert values["cpu_per_pod_etcd"] == pytest.approx(200.0) and values["cpu_per_pod_server"] == pytest.approx(300.0)
    assert values["cpu_per_pod"] == pytest.approx(500.0) and values["cpu_tp_1"] == pytest.approx(0.06)


def test_a_long_rest_does_not_hide_the_worst_ten_seconds(world: World) -> None:
    world.create("a")
    world.runs("a", at=1.0)
    account = world.settle()
    played = Played(world.journal, world.table, account, world.seen.counts, (), 2, 1.0)
    key = ("tp-1", "CREATE", "pods")
    slow = Histogram({0.01: 0.0, 2.0: 100.0, math.inf: 100.0}, 100.0, 150.0)
    quick = Histogram({0.01: 50_000.0, 2.0: 50_000.0, math.inf: 50_000.0}, 50_000.0, 100.0)
    few = Histogram({0.01: 0.0, 2.0: 0.0, math.inf: 5.0}, 5.0, 50.0)
    spans = [ApiInterval(10.0 * n, 10.0 * n + 10, {key: one}) for n, one in enumerate((quick, slow, few))]
    every = objectives.merged((quick, slow))
    seen = Observations(0.0, 0.0, 30.0, {}, {}, {key: every}, tuple(spans), {}, (), 0.0)
    found = results.figures(played, collect_stages([], {}), seen)
    assert found["api_mutating_p99"].value <= 10.0
    assert found["api_mutating_worst_p99"].value == pytest.approx(1980.1, abs=0.1)


def test_a_replay_is_held_against_the_recorded_figures() -> None:
    now = {"rate": Figure(3.0, "pods/s"), "new": Figure(1.0, "s"), "other": Figure(1.0, "s", 9.0, "a target")}
    found = results.compared({"rate": (2.0, "pods/s"), "new": (1.0, "ms"), "gone": (1.0, "s")}, now)
    assert found["rate"] == Figure(3.0, "pods/s", 2.0, "the recorded run")
    assert found["new"] == now["new"] and found["other"] == now["other"] and set(found) == set(now)


def test_sightings_survive_their_file(world: World) -> None:
    world.create("a")
    world.runs("a", at=0.5)
    world.settle()
    assert world.table.uids == ["a"] and world.table.nodes == ["rp-1/n-1"]
    assert world.table.times["bound"][0] == pytest.approx(0.3) and np.isnan(world.table.times["gone"][0])
    assert world.seen.there() == {"a"}
