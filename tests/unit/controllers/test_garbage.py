"""Garbage collection decides on values: who goes, who is let go, who waits."""

from __future__ import annotations

from services.api.ownership import FOREGROUND, ORPHAN, OwnerState, Policy, Reference, Seen, Thing
from services.controllers.garbage import (
    DropFinalizer,
    DropReferences,
    Graph,
    Remove,
    decide_dependent,
    decide_owner,
)

SOLID, WAITING, ABSENT = OwnerState.SOLID, OwnerState.WAITING, OwnerState.ABSENT


def ref(uid: str, *, blocks: bool = False) -> Reference:
    return Reference("v1", "Pod", f"name-of-{uid}", uid, blocks)


def thing(name: str, *owners: Reference, finalizers: tuple[str, ...] = (), ending: bool = False) -> Thing:
    return Thing("pods", f"/ursa/pods/t/n/{name}", f"uid-{name}", owners, finalizers, ending)


def test_a_dependent_goes_with_its_last_owner() -> None:
    child = thing("c", ref("a"))
    assert decide_dependent(child, {"a": ABSENT}, has_dependents=False) == [Remove(child, Policy.BACKGROUND)]
    assert decide_dependent(child, {"a": SOLID}, has_dependents=False) == []


def test_a_dependent_with_another_owner_only_loses_the_reference() -> None:
    child = thing("c", ref("a"), ref("b"), ref("d"))
    states = {"a": ABSENT, "b": SOLID, "d": WAITING}
    assert decide_dependent(child, states, has_dependents=False) == [DropReferences(child, frozenset({"a", "d"}))]


def test_a_foreground_deletion_goes_down_the_tree() -> None:
    child = thing("c", ref("a", blocks=True))
    assert decide_dependent(child, {"a": WAITING}, has_dependents=True) == [Remove(child, Policy.FOREGROUND)]
    assert decide_dependent(child, {"a": WAITING}, has_dependents=False) == [Remove(child, Policy.BACKGROUND)]


def test_a_dependents_own_finalizers_say_how_it_goes() -> None:
    for finalizer, policy in ((ORPHAN, Policy.ORPHAN), (FOREGROUND, Policy.FOREGROUND)):
        child = thing("c", ref("a"), finalizers=(finalizer,))
        assert decide_dependent(child, {"a": ABSENT}, has_dependents=False) == [Remove(child, policy)]


def test_what_ends_already_is_left_alone() -> None:
    assert decide_dependent(thing("c", ref("a"), ending=True), {"a": ABSENT}, has_dependents=False) == []


def test_an_owner_waits_for_those_that_block_it_and_for_no_other() -> None:
    owner = thing("a", finalizers=(FOREGROUND,), ending=True)
    blocking, other = thing("b", ref("uid-a", blocks=True)), thing("c", ref("uid-a"))
    assert decide_owner(owner, [blocking, other]) == []
    assert decide_owner(owner, [other]) == [DropFinalizer(owner, FOREGROUND)]
    assert decide_owner(thing("a", finalizers=(FOREGROUND,)), []) == [], "it is not being deleted"


def test_an_orphaning_owner_lets_go_first() -> None:
    owner = thing("a", finalizers=(ORPHAN,), ending=True)
    child = thing("c", ref("uid-a"))
    assert decide_owner(owner, [child]) == [
        DropReferences(child, frozenset({"uid-a"})),
        DropFinalizer(owner, ORPHAN),
    ]


def test_the_graph_points_out_dependents_of_what_is_gone_and_owners_that_wait() -> None:
    graph = Graph()
    child, parent = thing("c", ref("uid-a", blocks=True)), thing("a")
    graph.see([Seen(child, False), Seen(parent, False)])
    assert graph.take() == ([child], [])
    assert graph.take() == ([], [])
    assert graph.has_dependents(parent)
    waiting = thing("a", finalizers=(FOREGROUND,), ending=True)
    graph.see([Seen(waiting, False)])
    assert graph.take() == ([child], [waiting])
    graph.see([Seen(child, True)])
    assert graph.take() == ([], [waiting])
    graph.see([Seen(child, False)])
    graph.take()
    graph.see([Seen(waiting, True)])
    assert graph.take() == ([child], [])
    assert not graph.has_dependents(child)
