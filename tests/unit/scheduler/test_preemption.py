"""Preemption: who goes, on which node, and what is said when nobody's going helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.scheduler.core import NodeId, PodInfo
from services.scheduler.core.preemption import Pledge
from tests.support.scheduling import make_node, make_pod
from tests.unit.scheduler.preempting import World, victims, where


def test_the_least_important_pods_go_and_no_more_than_needed() -> None:
    world = World()
    node = world.node("a", cpu="4")
    for name, priority in (("low", 1), ("lower", 0), ("mid", 5)):
        world.place(node, name, priority, cpu="1")
    assert victims(world.run(world.info("high", 10, cpu="2"))) == {"high": ["lower"]}
    assert victims(world.run(world.info("high", 10, cpu="3"))) == {"high": ["low", "lower"]}
    assert victims(world.run(world.info("high", 10, cpu="4"))) == {"high": ["mid", "low", "lower"]}


@pytest.mark.parametrize("priority", [10, 11])
def test_equal_and_more_important_pods_stay(priority: int) -> None:
    world = World()
    world.place(world.node("a", cpu="1"), "resident", priority, cpu="1")
    decided = world.run(world.info("high", 10, cpu="1"))
    assert not decided.chosen
    assert decided.refused[0].message == (
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    assert not decided.refused[0].hindered


def test_a_pod_that_never_preempts_does_not() -> None:
    world = World()
    world.place(world.node("a", cpu="1"), "low", cpu="1")
    decided = world.run(world.info("high", 10, never=True, cpu="1"))
    assert not decided.chosen
    assert decided.refused[0].message == "preemption: not eligible due to preemptionPolicy=Never."


def test_a_profile_without_preemption_has_none() -> None:
    world = World()
    world.profile = replace(world.profile, preemption=None)
    world.place(world.node("a", cpu="1"), "low", cpu="1")
    decided = world.run(world.info("high", 10, cpu="1"))
    assert not decided.chosen and not decided.refused


def test_the_reasons_tell_apart_why_no_node_can_be_freed() -> None:
    world = World()
    world.node("tainted", taints=[("k", "v", "NoSchedule")])  # type: ignore[arg-type]
    world.node("tiny", cpu="1")
    world.place(world.node("busy", cpu="4"), "important", 20, cpu="3")
    world.place(world.node("mixed", cpu="4"), "low", 0, cpu="1")
    world.place(NodeId("rp-1", "mixed"), "also-important", 20, cpu="3")
    decided = world.run(world.info("high", 10, cpu="3"))
    assert not decided.chosen
    assert decided.refused[0].message == (
        "preemption: 0/4 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


# kube-scheduler's criteria, in its order: each case decides what the ones before leave open.


def test_first_the_fewest_budget_violations() -> None:
    world = World()
    world.place(world.node("guarded", cpu="1"), "guarded", 0, cpu="1", labels={"app": "db"})
    world.place(world.node("free", cpu="1"), "free", 5, cpu="1")
    world.budget(0, app="db")
    decided = world.run(world.info("high", 10, cpu="1"))
    assert where(decided) == {"high": "free"} and decided.chosen[0].violations == 0


def test_a_budget_is_violated_where_nothing_else_helps() -> None:
    world = World()
    world.place(world.node("guarded", cpu="1"), "guarded", 0, cpu="1", labels={"app": "db"})
    world.budget(0, app="db")
    decided = world.run(world.info("high", 10, cpu="1"))
    assert victims(decided) == {"high": ["guarded"]} and decided.chosen[0].violations == 1


def test_second_the_lowest_highest_victim() -> None:
    world = World()
    world.place(world.node("one-high", cpu="2"), "high-victim", 5, cpu="2")
    low = world.node("two-low", cpu="2")
    world.place(low, "low-1", 4, cpu="1")
    world.place(low, "low-2", 4, cpu="1")
    assert where(world.run(world.info("high", 10, cpu="2"))) == {"high": "two-low"}


def test_third_the_smallest_sum_of_priorities() -> None:
    world = World()
    for name, lower in (("heavy", 3), ("light", 1)):
        node = world.node(name, cpu="2")
        world.place(node, f"{name}-top", 4, cpu="1")
        world.place(node, f"{name}-low", lower, cpu="1")
    assert where(world.run(world.info("high", 10, cpu="2"))) == {"high": "light"}


def test_fewer_victims_win_over_less_important_ones() -> None:
    world = World()
    many = world.node("many", cpu="2")
    for name in ("m1", "m2"):
        world.place(many, name, -5, cpu="1")
    world.place(world.node("one", cpu="2"), "o1", -5, cpu="2")
    assert where(world.run(world.info("high", 10, cpu="2"))) == {"high": "one"}


def test_last_the_latest_start_of_the_highest_victims() -> None:
    world = World()
    world.place(world.node("veteran", cpu="1"), "veteran", 0, cpu="1", started=100)
    world.place(world.node("novice", cpu="1"), "novice", 0, cpu="1", started=900)
    assert where(world.run(world.info("high", 10, cpu="1"))) == {"high": "novice"}


def test_of_equal_priority_the_one_that_started_last_goes() -> None:
    world = World()
    node = world.node("a", cpu="2")
    world.place(node, "veteran", 0, cpu="1", started=100)
    world.place(node, "novice", 0, cpu="1", started=900)
    assert victims(world.run(world.info("high", 10, cpu="1"))) == {"high": ["novice"]}


# Many at once


def test_no_victim_is_chosen_twice() -> None:
    world = World()
    for number in range(4):
        node = world.node(f"n{number}", cpu="4")
        for index in range(4):
            world.place(node, f"low-{number}-{index}", 0, cpu="900m")
    decided = world.run(*(world.info(f"high-{n}", 10, cpu="3") for n in range(6)))
    assert len(decided.chosen) == 4 and len(decided.refused) == 2
    chosen = [victim.uid for one in decided.chosen for victim in one.victims]
    assert len(chosen) == len(set(chosen)) == 12
    assert sorted(where(decided).values()) == ["n0", "n1", "n2", "n3"]


def test_the_more_important_preemptor_is_served_first() -> None:
    world = World()
    world.place(world.node("a", cpu="1"), "low", 0, cpu="1")
    decided = world.run(world.info("mid", 5, cpu="1"), world.info("high", 10, cpu="1"))
    assert victims(decided) == {"high": ["low"]}
    assert [refused.pod.name for refused in decided.refused] == ["mid"]


def test_budgets_are_used_up_by_the_choices_of_a_round() -> None:
    world = World()
    for number in range(2):
        world.place(world.node(f"n{number}", cpu="1"), f"db-{number}", 0, cpu="1", labels={"app": "db"})
    world.place(world.node("n2", cpu="1"), "other", 5, cpu="1")
    world.budget(1, app="db")
    decided = world.run(*(world.info(f"high-{n}", 10, cpu="1") for n in range(2)))
    assert [chosen.violations for chosen in decided.chosen] == [0, 0]
    assert sorted(name for names in victims(decided).values() for name in names)[1] == "other"


def test_a_granted_disruption_costs_nothing_more() -> None:
    world = World()
    world.place(world.node("a", cpu="1"), "db-0", 0, cpu="1", labels={"app": "db"})
    world.budget(0, disrupted=["db-0"], app="db")
    assert world.run(world.info("high", 10, cpu="1")).chosen[0].violations == 0


# What is under way


def pledged(world: World, earlier: str, victim: str) -> Pledge:
    node = world.node("a", cpu="2")
    doomed = world.place(node, "doomed", 0, cpu=victim)
    pod = world.info("earlier", 10, cpu=earlier)
    world.table.assign(pod, node)
    return Pledge(pod, node, (doomed.uid,))


def test_room_that_is_being_made_for_another_pod_is_not_free() -> None:
    world = World()
    pledge = pledged(world, "2", "2")
    world.place(world.node("b", cpu="2"), "higher", 5, cpu="2")
    assert victims(world.run(world.info("high", 10, cpu="1"), pledges=[pledge])) == {"high": ["higher"]}


def test_nobody_goes_where_pods_that_are_going_leave_room_enough() -> None:
    world = World()
    pledge = pledged(world, "1", "2")
    world.place(world.node("b", cpu="2"), "higher", 5, cpu="1500m")
    decided = world.run(world.info("high-0", 10, cpu="1"), world.info("high-1", 10, cpu="1"), pledges=[pledge])
    assert victims(decided) == {"high-1": ["higher"]}
    assert decided.refused[0].message == "preemption: pods that are ending make room on node rp-1/a."


def test_pods_that_are_not_bound_yet_are_no_victims_but_a_reason_to_try_again_soon() -> None:
    world = World()
    flying = world.place(world.node("a", cpu="1"), "flying", 0, cpu="1")
    decided = world.run(world.info("high", 10, cpu="1"), exempt=[flying.uid])
    assert not decided.chosen
    assert decided.refused[0].hindered


# Other filters than resources


def test_a_host_port_is_freed() -> None:
    world = World()
    node = world.node("a")
    world.place(node, "other", 0, host_port=81)
    world.place(node, "holder", 0, host_port=80)
    assert victims(world.run(world.info("high", 10, host_port=80))) == {"high": ["holder"]}


def test_a_host_port_of_an_important_pod_is_not() -> None:
    world = World()
    node = world.node("a")
    world.place(node, "holder", 10, host_port=80)
    world.place(node, "low", 0)
    decided = world.run(world.info("high", 10, host_port=80))
    assert decided.refused[0].message == (
        "preemption: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    )


def test_pods_that_repel_the_preemptor_go() -> None:
    world = World()
    for name in ("a", "b"):
        node = world.node(make_node(name, labels={"kubernetes.io/hostname": name}))
        world.place(node, f"harmless-{name}", 0, cpu="100m")
    world.place(NodeId("rp-1", "a"), "hostile", 0, cpu="100m", labels={"app": "hostile"})
    world.place(NodeId("rp-1", "b"), "important", 20, cpu="100m", labels={"app": "hostile"})
    pod = make_pod("high", priority=10, cpu="100m")
    term = pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(
        topology_key="kubernetes.io/hostname"
    )
    term.label_selector.match_labels["app"] = "hostile"
    assert victims(world.run(world.classes.info(pod))) == {"high": ["hostile"]}


def crowd(world: World, bad: int, good: int) -> PodInfo:
    """Hosts with somebody hostile on each, who is too important on the ``bad`` ones, though these look better."""
    for number in range(bad + good):
        name = f"n{number}"
        node = world.node(make_node(name, labels={"kubernetes.io/hostname": name}))
        world.place(node, f"low-{name}", 0, cpu="50m")
        priority, cpu = (20, "100m") if number < bad else (5, "3950m")
        world.place(node, f"hostile-{name}", priority, cpu=cpu, labels={"app": "hostile"})
    pod = make_pod("high", priority=10, cpu="100m")
    term = pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(
        topology_key="kubernetes.io/hostname"
    )
    term.label_selector.match_labels["app"] = "hostile"
    return world.classes.info(pod)


def test_the_few_nodes_that_help_are_found_behind_many_that_do_not() -> None:
    world = World()
    decided = world.run(crowd(world, 140, 20))
    assert [name.partition("-")[0] for name in victims(decided)["high"]] == ["hostile"]


def test_every_node_is_in_the_reasons_once() -> None:
    world = World()
    decided = world.run(crowd(world, 200, 0))
    assert decided.refused[0].message == (
        "preemption: 0/200 nodes are available: 200 node(s) didn't match pod anti-affinity rules."
    )
