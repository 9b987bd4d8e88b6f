"""Tables: kubectl's columns and words, and where things live."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.api import kinds, manifests
from services.api.pb.ursa.core.v1 import node_pb2, pod_pb2
from services.cli import columns, output, podstatus
from services.cli.columns import View
from services.cli.context import Partition
from services.cli.items import Item

NOW = 1_700_000_100.0
TP = Partition("tp-1", "tenant", "127.0.0.1:7110")


def pod(status: str = "", **metadata: str) -> pod_pb2.Pod:
    lines = "\n".join(f"  {key}: {value}" for key, value in metadata.items())
    text = f"""
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: default
  tenant: acme
{lines}
spec:
  nodeName: n1
  resourcePartition: rp-2
  containers: [{{name: a, image: i}}, {{name: b, image: i}}]
status: {status or "{phase: Pending}"}
"""
    found: pod_pb2.Pod = manifests.load(text)[0].object
    found.metadata.creation_timestamp.CopyFrom(Timestamp(seconds=1_700_000_000))
    return found


@pytest.mark.parametrize(
    ("status", "ready", "word"),
    [
        ("{phase: Pending}", "0/2", "Pending"),
        (
            "{phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}},"
            " {name: b, ready: true, state: {running: {}}}]}",
            "2/2",
            "Running",
        ),
        (
            "{phase: Running, containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}}]}",
            "0/2",
            "CrashLoopBackOff",
        ),
        (
            "{phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}]}",
            "0/2",
            "Completed",
        ),
        ("{phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}", "0/2", "ExitCode:3"),
        ("{phase: Failed, reason: Evicted}", "0/2", "Evicted"),
        (
            "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}",
            "0/2",
            "SchedulingGated",
        ),
    ],
)
def test_pod_status_is_kubectls(status: str, ready: str, word: str) -> None:
    summary = podstatus.summarize(pod(status), NOW)
    assert (summary.ready, summary.status) == (ready, word)


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    deleted = pod("{phase: Running}")
    deleted.metadata.deletion_timestamp.seconds = 1_700_000_090
    assert podstatus.summarize(deleted, NOW).status == "Terminating"


def test_restarts_say_when_the_last_one_was() -> None:
    status = (
        "{phase: Running, containerStatuses: [{name: a, restartCount: 4,"
        " lastState: {terminated: {finishedAt: '2023-11-14T22:14:50Z'}}}]}"
    )
    assert podstatus.summarize(pod(status), NOW).restarts == "4 (10s ago)"


def test_the_wide_table_of_all_tenants() -> None:
    view = View(now=NOW, wide=True, tenants=True, namespaces=True)
    header, row = output.item_table([Item(kinds.PODS, pod(), TP)], view)
    assert " ".join(header.split()) == ("TENANT NAMESPACE NAME READY STATUS RESTARTS AGE IP NODE RP TP NOMINATED NODE")
    assert " ".join(row.split()) == "acme default web 0/2 Pending 0 100s <none> n1 rp-2 tp-1 <none>"


def test_same_named_nodes_are_told_apart() -> None:
    node = node_pb2.Node()
    node.metadata.name = "n1"
    items = [Item(kinds.NODES, node, Partition(name, "resource", "x:1")) for name in ("rp-1", "rp-2")]
    view = View(now=NOW, colliding=columns.colliding_nodes(items))
    assert [line.split()[0] for line in output.item_table(items, view)[1:]] == ["rp-1/n1", "rp-2/n1"]
    alone = View(now=NOW, colliding=columns.colliding_nodes(items[:1]))
    assert output.item_table(items[:1], alone)[1].split()[0] == "n1"


@pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=lambda kind: kind.resource)
def test_every_kind_has_a_table_of_an_empty_object(kind: kinds.Kind) -> None:
    header, row = output.item_table([Item(kind, kind.message(), TP)], View(now=NOW, wide=True, labels=True))
    assert "NAME" in header and row


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert output.table(["A", "LONG"], [["xxx", "y"], ["z", ""]]) == ["A     LONG", "xxx   y", "z"]


def test_services_and_budgets_have_kubectls_columns() -> None:
    documents = manifests.load(
        """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, tenant: acme}
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.1
  ports: [{port: 80, protocol: TCP, nodePort: 30080}, {port: 53, protocol: UDP}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default, tenant: acme}
spec: {minAvailable: 50%}
status: {disruptionsAllowed: 2}
"""
    )
    for found, cells in zip(
        documents,
        ("web LoadBalancer 10.0.0.1 <pending> 80:30080/TCP,53/UDP <unknown>", "web 50% N/A 2 <unknown>"),
        strict=True,
    ):
        _, row = output.item_table([Item(found.kind, found.object, TP)], View(now=NOW))
        assert " ".join(row.split()) == cells
