"""What every round of preemption promises, over random clusters: safe, minimal, complete, and within budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core import NodeId, NodeTable, PodInfo, plan, preemption_search
from services.scheduler.core.feasibility import feasible
from services.scheduler.core.plan import in_plan_order
from tests.support.scheduling import make_node, make_pod
from tests.unit.scheduler.preempting import World

PRIORITIES = (-3, 0, 2, 5)
APPS = ("web", "db", "cache")

_shapes = st.fixed_dictionaries(
    {"cpu": st.sampled_from(("200m", "500m", "1", "2")), "memory": st.sampled_from(("", "256Mi", "1Gi"))},
    optional={"host_port": st.sampled_from((80, 443))},
)


@dataclass(frozen=True)
class Scene:
    """Nodes, residents (node, priority, start, app, shape), preemptors (priority, shape), budgets (app → allowed)."""

    nodes: Sequence[dict[str, str]]
    residents: Sequence[tuple[int, int, int, str, dict[str, object]]]
    preemptors: Sequence[tuple[int, dict[str, object]]]
    budgets: dict[str, int]


@st.composite
def scenes(draw: st.DrawFn, preemptors_max: int = 6) -> Scene:
    node = st.fixed_dictionaries({"cpu": st.sampled_from(("1", "2", "4")), "pods": st.sampled_from(("2", "4", "110"))})
    nodes = draw(st.lists(node, min_size=1, max_size=5))
    resident = st.tuples(
        st.integers(0, len(nodes) - 1),
        st.sampled_from(PRIORITIES),
        st.sampled_from((0, 10, 20)),
        st.sampled_from(APPS),
        _shapes,
    )
    return Scene(
        nodes,
        draw(st.lists(resident, max_size=14)),
        draw(st.lists(st.tuples(st.sampled_from((0, 3, 9)), _shapes), min_size=1, max_size=preemptors_max)),
        draw(st.dictionaries(st.sampled_from(APPS), st.integers(0, 2), max_size=2)),
    )


def built(scene: Scene) -> tuple[World, list[PodInfo]]:
    """Residents may over-commit their node: that happens, and nothing may rest on its not happening."""
    world = World()
    ids = [world.node(make_node(f"n{number}", **shape)) for number, shape in enumerate(scene.nodes)]  # type: ignore[arg-type]
    for number, (node, priority, started, app, shape) in enumerate(scene.residents):
        world.place(ids[node], f"r{number}", priority, started=started, labels={"app": app}, **shape)
    for app, allowed in scene.budgets.items():
        world.budget(allowed, app=app)
    pods = [world.info(f"p{n}", priority, **shape) for n, (priority, shape) in enumerate(scene.preemptors)]
    return world, pods


def fits(table: NodeTable, pod: PodInfo, node: NodeId, world: World) -> bool:
    snapshot = table.freeze()
    row = table.row(node)
    assert row is not None
    return bool(feasible(pod.kind, snapshot.nodes, snapshot.usage, world.profile)[row])


def placed_by_plan(world: World, pods: Sequence[PodInfo]) -> None:
    """What the plan of the round places; preemption begins after that."""
    for placement in plan(world.table.freeze(), pods, world.profile).placements:
        world.table.assign(placement.pod, placement.node)


@settings(deadline=None, max_examples=80)
@given(scenes())
def test_preemption_is_safe_sufficient_and_minimal(scene: Scene) -> None:
    world, pods = built(scene)
    decided = world.run(*pods)
    placed_by_plan(world, pods)
    seen: set[str] = set()
    chosen_for = {chosen.pod.uid: chosen for chosen in decided.chosen}
    awaits = {refused.pod.uid: refused.message for refused in decided.refused if "make room" in refused.message}
    for pod in [pod for alike in in_plan_order(pods) for pod in alike]:
        if pod.uid in awaits:
            node = NodeId("rp-1", awaits[pod.uid].rstrip(".").rpartition("/")[2])
            assert fits(world.table, pod, node, world)
            world.table.assign(pod, node)
        if pod.uid not in chosen_for:
            continue
        chosen = chosen_for[pod.uid]
        assert chosen.victims
        for victim in chosen.victims:
            assert victim.priority < pod.priority
            assert world.table.node_of(victim.uid) == chosen.node
            assert victim.uid not in seen
            seen.add(victim.uid)
            world.table.release(victim.uid)
        assert fits(world.table, pod, chosen.node, world)
        for victim in chosen.victims:
            world.table.assign(victim, chosen.node)
            assert not fits(world.table, pod, chosen.node, world), "this victim need not have gone"
            world.table.release(victim.uid)
        world.table.assign(pod, chosen.node)


@settings(deadline=None, max_examples=80)
@given(scenes(preemptors_max=1))
def test_a_preemptor_is_refused_only_where_no_node_can_be_freed(scene: Scene) -> None:
    world, pods = built(scene)
    decided = world.run(*pods)
    for refused in decided.refused:
        for number in range(len(scene.nodes)):
            node = NodeId("rp-1", f"n{number}")
            less = [pod for pod in world.table.placed(node).values() if pod.priority < refused.pod.priority]
            for pod in less:
                world.table.release(pod.uid)
            assert not (less and fits(world.table, refused.pod, node, world))
            for pod in less:
                world.table.assign(pod, node)


@settings(deadline=None, max_examples=80)
@given(scenes(preemptors_max=1))
def test_no_budget_is_violated_where_pods_without_one_would_do(scene: Scene) -> None:
    world, pods = built(scene)
    decided = world.run(*pods)
    for chosen in decided.chosen:
        for number in range(len(scene.nodes)):
            node = NodeId("rp-1", f"n{number}")
            unguarded = [
                pod
                for pod in world.table.placed(node).values()
                if pod.priority < chosen.pod.priority and pod.kind.labels["app"] not in scene.budgets
            ]
            for pod in unguarded:
                world.table.release(pod.uid)
            if unguarded and fits(world.table, chosen.pod, node, world):
                assert not chosen.violations
            for pod in unguarded:
                world.table.assign(pod, node)


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_a_round_is_repeatable_and_leaves_the_table_as_it_was(scene: Scene) -> None:
    world, pods = built(scene)
    before = world.table.freeze().usage.requested.copy()
    assert world.run(*pods) == world.run(*pods)
    assert np.array_equal(world.table.freeze().usage.requested, before)


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_evictable_sums_kept_up_to_date_equal_those_made_anew(scene: Scene) -> None:
    world, _ = built(scene)
    for limit in (0, 3, 9):
        world.table.evictable(limit)
    for number in range(0, len(scene.residents), 2):
        world.table.release(f"uid-acme-default-r{number}")
    world.table.upsert("rp-1", make_node("n0", cpu="8"))
    for limit in (0, 3, 9):
        snapshot = world.table.freeze()
        expected = np.zeros_like(snapshot.usage.requested)
        for number in range(len(scene.nodes)):
            node = NodeId("rp-1", f"n{number}")
            for pod in world.table.placed(node).values():
                if pod.priority < limit:
                    for resource, amount in pod.kind.requests.items():
                        expected[snapshot.nodes.resources[resource], world.table.row(node)] += amount
        assert np.array_equal(world.table.evictable(limit), expected)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_what_filters_rule_out_at_once_is_what_they_refuse_row_by_row(data: st.DataObject) -> None:
    """The same preemptor with every node looked at in full, and with the vector step before the first one."""
    draw = data.draw
    key = draw(st.sampled_from(("kubernetes.io/hostname", "zone")))
    kind = draw(st.sampled_from(("anti", "near", "spread")))
    world = World()
    for number in range(draw(st.integers(1, 6))):
        zone = draw(st.sampled_from(("a", "b", "c")))
        node = world.node(make_node(f"n{number}", labels={"kubernetes.io/hostname": f"n{number}", "zone": zone}))
        for index in range(draw(st.integers(0, 3))):
            app = draw(st.sampled_from(("web", "db")))
            world.place(node, f"r{number}-{index}", draw(st.sampled_from((0, 20))), cpu="1", labels={"app": app})
    pod = make_pod("high", priority=10, cpu="2", labels={"app": "web" if kind == "spread" else "other"})
    if kind == "spread":
        constraint = pod.spec.topology_spread_constraints.add(
            max_skew=1, topology_key=key, when_unsatisfiable="DoNotSchedule"
        )
        constraint.label_selector.match_labels["app"] = "web"
    else:
        affinity = pod.spec.affinity
        rules = affinity.pod_anti_affinity if kind == "anti" else affinity.pod_affinity
        term = rules.required_during_scheduling_ignored_during_execution.add(topology_key=key)
        term.label_selector.match_labels["app"] = "web"
    high = world.classes.info(pod)
    in_full = world.run(high)
    with mock.patch.object(preemption_search, "FILTERED_NODES", 0):
        at_once = world.run(high)
    assert bool(at_once.chosen) == bool(in_full.chosen)
    assert [refused.message for refused in at_once.refused] == [refused.message for refused in in_full.refused]
