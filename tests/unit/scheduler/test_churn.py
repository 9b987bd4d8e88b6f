"""Nodes and pods come and go for ever: what is remembered of those that are gone has a bound."""

from __future__ import annotations

import numpy as np

from services.client.informer import Change
from services.scheduler.contention import Contention
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable
from services.scheduler.ledgers import SeenLedger
from services.scheduler.queue import new_queue
from services.scheduler.state import SchedulerState
from tests.support.scheduling import make_node

HOST = "kubernetes.io/hostname"
NODE = NodeId("rp-1", "node-0")


def test_host_names_of_nodes_that_are_gone_are_no_domains() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("stays", labels={HOST: "stays"}))
    table.freeze().nodes.domains(HOST)
    before = table.freeze().nodes
    for number in range(1_000):
        table.upsert("rp-1", make_node(f"n{number}", labels={HOST: f"n{number}"}))
        table.freeze()
        table.remove("rp-1", f"n{number}")
    nodes = table.freeze().nodes
    assert nodes.domains(HOST).count <= 2 * len(nodes) + 1
    for columns in (before, nodes):
        rows = np.flatnonzero(columns.labels.column(HOST).equals(["stays"])).tolist()
        assert rows == [table.row(NodeId("rp-1", "stays"))]


def test_taints_that_are_on_no_node_any_more_are_dropped() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("stays", taints=[("kept", "", "NoSchedule")]))
    for number in range(1_000):
        table.upsert("rp-1", make_node("other", taints=[("at", str(number), "NoSchedule")]))
    table.upsert("rp-1", make_node("plain"))
    nodes = table.freeze().nodes
    assert len(nodes.taint_classes) <= 2 * len(nodes) + 1
    keys = {}
    for name in ("stays", "other", "plain"):
        row = table.row(NodeId("rp-1", name))
        assert row is not None
        keys[name] = [(taint.key, taint.value) for taint in nodes.taint_classes[nodes.taint_class[row]]]
    assert keys == {"stays": [("kept", "")], "other": [("at", "999")], "plain": []}


def test_ledgers_and_pods_that_are_gone_are_not_remembered_as_contended() -> None:
    contention = Contention()
    state = SchedulerState(
        NodeTable(scheduler="s"),
        new_queue(DEFAULT_PROFILE, backoff_initial_s=1, backoff_max_s=10, unschedulable_retry_s=60),
    )
    state.contention = contention
    for number in range(10):
        ledger = SeenLedger(f"n{number}", "", 1, {"cpu": 1}, {})
        state.ledgers_changed([Change(ledger.name, None, ledger, "rp-1")], 0.0)
        state.ledgers_changed([Change(ledger.name, ledger, None, "rp-1")], 0.0)
    contention.wait(NODE, "a")
    contention.wait(NODE, "b")
    contention.wait(NodeId("rp-1", "node-1"), "b")
    contention.forget("a")
    assert contention.changed(NODE, gone=True) == set()
    assert contention.changed(NodeId("rp-1", "node-1"), gone=True) == {"b"}
    assert len(contention) == 0


def test_a_ledger_that_came_back_is_news_to_who_planned_with_the_one_before() -> None:
    contention = Contention()
    for _ in range(5):
        contention.changed(NODE)
    before = contention.news(NODE)
    contention.changed(NODE, gone=True)
    contention.changed(NODE)
    assert contention.news(NODE) > before
