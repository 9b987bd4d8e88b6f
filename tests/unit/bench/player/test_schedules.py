"""Schedules: how many of what, when, where; the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.base.rand import Rand
from services.bench.player import density, groups, load, parameters
from services.bench.player.density import DensityParameters
from services.bench.player.load import LoadParameters, Workloads
from services.bench.player.pacing import Lifetimes, batches, due_s, places
from services.bench.player.requests import Resource, Scenario, Verb

PLACES = places(["tp-1", "tp-2"], tenants=2, namespaces=2)


def test_places_alternate_between_partitions() -> None:
    assert [(place.partition, place.tenant, place.namespace) for place in PLACES[:3]] == [
        ("tp-1", "bench-tp-1-1", "default"),
        ("tp-2", "bench-tp-2-1", "default"),
        ("tp-1", "bench-tp-1-2", "default"),
    ]
    assert len(PLACES) == 8 and PLACES[4].namespace == "load-2"


@given(count=st.integers(0, 500), size=st.integers(1, 60), first=st.integers(0, 9))
def test_batches_cover_every_number_once(count: int, size: int, first: int) -> None:
    found = [number for start, length in batches(count, size, first) for number in range(start, start + length)]
    assert found == list(range(first, first + count))


def test_due_times_are_even_and_do_not_drift() -> None:
    assert [due_s(number, 4.0) for number in (0, 1, 4000)] == [0.0, 0.25, 1000.0]
    assert due_s(7, 0.0) == 0.0


@given(pods=st.integers(5, 100_000))
def test_workloads_make_up_the_pods(pods: int) -> None:
    found = groups.counts(pods)
    total = sum(size.pods * count for size, count in found.items())
    assert pods - groups.SMALL.pods < total <= pods
    if pods >= 10_000:
        shares = {size.name: size.pods * count / pods for size, count in found.items()}
        assert shares["large"] == pytest.approx(0.25, abs=0.03)
        assert shares["medium"] == pytest.approx(0.25, abs=0.03)
        assert shares["small"] == pytest.approx(0.5, abs=0.03)


def test_a_scaled_workload_is_between_half_and_one_and_a_half() -> None:
    rand = Rand(3)
    found = [groups.scaled(250, rand) for _ in range(500)]
    assert min(found) >= 125 and max(found) <= 375 and min(found) < 140 and max(found) > 360
    assert groups.scaled(1, rand) >= 1


def test_lifetimes_are_a_share_of_the_pods_around_their_mean() -> None:
    drawn = Lifetimes(0.25, 10.0, Rand(1)).draw(4000)
    ending = [life_s for life_s in drawn if life_s]
    assert len(ending) == pytest.approx(1000, abs=100)
    assert sum(ending) / len(ending) == pytest.approx(10.0, rel=0.1)
    assert min(ending) >= 1.0 and max(ending) <= 50.0
    assert Lifetimes(0.0, 10.0, Rand(1)).draw(10) == ()


def created(scenario: Scenario) -> list[str]:
    return [
        f"{request.tenant}/{request.namespace}/{name}"
        for step in scenario.steps
        for request in step.requests
        if request.verb is Verb.CREATE and request.resource is Resource.PODS
        for name in request.names
    ]


def test_density_fills_then_measures_then_deletes() -> None:
    wanted = DensityParameters(pods=100, rate=50.0, create_batch=8, latency_pods=10, latency_rate=5.0, delete=True)
    made = density.scenario(wanted, PLACES, Rand(1))
    saturate, latency, delete = made.steps
    assert [step.pods for step in made.steps] == [100, 110, 0]
    assert sum(request.count for request in saturate.requests) == 100
    assert saturate.requests[-1].at_s == pytest.approx(96 / 50) and saturate.requests[-1].count == 4
    assert [request.at_s for request in latency.requests[:3]] == [0.0, 0.2, 0.4]
    assert len(set(created(made))) == 110
    deleted = {f"{one.tenant}/{one.namespace}/{name}" for one in delete.requests for name in one.names}
    assert deleted == set(created(made))


def test_density_at_full_speed_is_not_paced() -> None:
    (step,) = density.scenario(DensityParameters(pods=5), PLACES, Rand(1)).steps
    assert not step.paced and {request.at_s for request in step.requests} == {0.0}


@pytest.mark.parametrize("workloads", list(Workloads))
def test_load_creates_scales_updates_and_deletes_every_workload(workloads: Workloads) -> None:
    wanted = LoadParameters(pods=1200, workloads=workloads, rate=100.0, services=True, short_lived=0.1, create_batch=50)
    made = load.scenario(wanted, PLACES, Rand(5))
    assert [step.name for step in made.steps] == ["create", "scale", "update", "delete"]
    created_pods, scaled_pods, updated_pods, left = (step.pods for step in made.steps)
    # 1 large, 10 medium, 130 small workloads, and 120 batch jobs.
    assert created_pods == 250 + 10 * 30 + 130 * 5 + 120 and left == 0
    assert scaled_pods == updated_pods != created_pods
    for step in made.steps:
        assert [request.at_s for request in step.requests] == pytest.approx(
            [number / 100 for number in range(len(step.requests))]
        )
        names = {(one.tenant, one.namespace, one.name) for one in step.requests}
        # A few small ones are scaled to what they are.
        assert len(names) >= (141 if step.name != "scale" else 100)
    jobs = [one for one in made.steps[0].requests if one.name.startswith("job-")]
    assert len(jobs) == 120 and all(one.lifetimes_s for one in jobs)
    places_of = {(one.tenant, one.namespace) for one in made.steps[0].requests}
    assert len(places_of) == len(PLACES)


def test_pods_that_exist_at_the_end_of_each_step_are_those_of_its_requests() -> None:
    made = load.scenario(LoadParameters(pods=500, workloads=Workloads.PODS, create_batch=7), PLACES, Rand(2))
    there: set[tuple[str, str, str]] = set()
    for step in made.steps:
        for one in step.requests:
            names = {(one.tenant, one.namespace, name) for name in one.names}
            if one.verb is Verb.CREATE:
                assert not names & there
                there |= names
            elif one.verb is Verb.DELETE:
                assert names <= there
                there -= names
            else:
                assert names <= there
        assert len(there) == step.pods


def test_replica_sets_have_as_many_pods_as_their_last_size() -> None:
    made = load.scenario(LoadParameters(pods=500), PLACES, Rand(2))
    sizes = {one.name: one.replicas for one in made.steps[0].requests}
    assert sum(sizes.values()) == made.steps[0].pods
    sizes |= {one.name: one.replicas for one in made.steps[1].requests}
    assert sum(sizes.values()) == made.steps[1].pods


def test_the_same_seed_makes_the_same_schedule() -> None:
    wanted = LoadParameters(pods=800, short_lived=0.2)
    first, again, other = (load.scenario(wanted, PLACES, Rand(seed)) for seed in (4, 4, 5))
    assert first == again and first != other


def test_what_was_asked_for_comes_before_a_recording_before_quick() -> None:
    asked = {"nodes": 60, "rate": None}
    found = parameters.chosen(parameters.LOAD, parameters.LOAD_QUICK, {"rate": 7.0, "unknown": 1}, asked)
    assert (found["nodes"], found["rate"], found["pods_per_node"]) == (60, 7.0, 10.0)
    assert "unknown" not in found


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        pytest.param({"nodes": 3}, "nodes", id="nodes that do not divide"),
        pytest.param({"duration_s": 10.0}, "duration", id="a duration without a rate"),
        pytest.param({"nodes": "many"}, "nodes", id="a recording's nonsense"),
    ],
)
def test_parameters_that_cannot_be_name_their_option(asked: dict[str, object], name: str) -> None:
    with pytest.raises(parameters.Impossible) as found:
        parameters.chosen(parameters.DENSITY, None, {}, asked)
    assert found.value.name == name


def test_how_many_pods() -> None:
    base = parameters.DENSITY | {"nodes": 10}
    assert parameters.pods_of(base) == 300
    assert parameters.pods_of(base | {"rate": 20.0, "duration_s": 3.0}) == 60
    assert parameters.pods_of(base | {"rate": 20.0, "duration_s": 3.0, "pods": 7}) == 7
