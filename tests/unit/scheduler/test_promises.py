"""Promises as the ledgers show them, and those that were given back before a ledger shows it."""

from __future__ import annotations

from services.scheduler.attempt import Attempt
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable, PodClasses
from services.scheduler.core.claimed import ClaimedRoom
from services.scheduler.core.plan import ViewCache
from services.scheduler.ledgers import SeenLedger
from services.scheduler.promises import Promises
from services.scheduler.queue import Entry, Place
from services.scheduler.standing import Standing
from tests.support.scheduling import make_node, make_pod

NODE = NodeId("rp-1", "node-0")
OTHER = NodeId("rp-1", "node-1")


def promises() -> Promises:
    table = NodeTable(scheduler="s", seed=1)
    for node in (NODE, OTHER):
        table.upsert("rp-1", make_node(node.name))
    return Promises(Standing(table, ClaimedRoom(), DEFAULT_PROFILE, ViewCache()))


def ledger(node: NodeId, version: int, *promised: str) -> SeenLedger:
    return SeenLedger(node.name, "", version, {}, {}, promises=dict.fromkeys(promised, ("victim",)))


def attempt(name: str, node: NodeId, epoch: int = 0) -> Attempt:
    pod = PodClasses().info(make_pod(name))
    return Attempt(pod, node, "", epoch, Entry(pod, Place.TAKEN, 0.0))


def test_an_older_ledger_does_not_bring_a_promise_back_that_was_given_back() -> None:
    known = promises()
    uid = attempt("a", NODE).pod.uid
    known.note(NODE, ledger(NODE, 1, uid, "uid-b"))
    known.given_back(uid, NODE)
    known.note(NODE, ledger(NODE, 2, uid, "uid-b"))
    assert known.node_of(uid) is None and known.node_of("uid-b") == NODE
    known.note(NODE, ledger(NODE, 3, "uid-b"))
    # It was seen late that there was one at all.
    known.note(NODE, ledger(NODE, 4, uid, "uid-b"))
    assert known.node_of(uid) is None


def test_a_promise_that_is_made_anew_counts_and_so_does_one_on_another_node() -> None:
    known = promises()
    again = attempt("a", NODE, epoch=1)
    uid = again.pod.uid
    known.given_back(uid, NODE)
    known.note(OTHER, ledger(OTHER, 1, uid))
    assert known.node_of(uid) == OTHER
    known.note(OTHER, ledger(OTHER, 2))
    known.park(again, 1.0)
    known.note(NODE, ledger(NODE, 3, uid))
    assert known.node_of(uid) == NODE


def test_what_others_promise_while_they_lead_counts_afterwards() -> None:
    known = promises()
    uid = attempt("a", NODE).pod.uid
    known.given_back(uid, NODE)
    known.note(NODE, ledger(NODE, 1, uid))
    assert known.node_of(uid) is None
    known.forget_all()
    assert known.node_of(uid) == NODE


def test_a_promise_that_comes_true_on_a_node_that_is_refused_by_now_is_not_handed_out() -> None:
    table = NodeTable(scheduler="s", seed=1)
    table.upsert("rp-1", make_node(NODE.name))
    known = Promises(Standing(table, ClaimedRoom(), DEFAULT_PROFILE, ViewCache()))
    one = attempt("a", NODE)
    known.park(one, 0.0)
    known.note(NODE, ledger(NODE, 1, one.pod.uid))
    table.upsert("rp-1", make_node(NODE.name, unschedulable=True))
    assert known.note(NODE, ledger(NODE, 2)) == [] and not known.in_doubt(60.0)
    table.upsert("rp-1", make_node(NODE.name))
    assert known.in_doubt(60.0) == [one]
