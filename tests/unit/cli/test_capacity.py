"""Claims and ledgers as tables and on a node's page."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.api import kinds
from services.api.pb.ursa.core.v1 import node_pb2
from services.api.pb.ursa.scheduling.v1 import capacity_pb2
from services.cli import capacity, columns, describing
from services.cli.columns import View
from services.cli.context import Partition
from services.cli.items import Item

NOW = 1_700_000_100.0
RP = Partition("rp-1", "resource", "127.0.0.1:7160")
GI = 1 << 30


def ledger() -> capacity_pb2.CapacityLedger:
    made = capacity_pb2.CapacityLedger(node_uid="n", allocatable={"cpu": 32_000, "memory": 256 * GI, "pods": 110})
    made.allocatable["example.com/gpu"] = 4
    made.metadata.name = "node-1"
    made.metadata.creation_timestamp.CopyFrom(Timestamp(seconds=1_700_000_000))
    for name, cpu, memory, pods in (("tp-1", 1_500, 3 * GI, 2), ("tp-2", 500, GI // 2, 1)):
        made.claimed.add(tenant_partition=name, requests={"cpu": cpu, "memory": memory}, pods=pods)
    made.promises.add(pod_uid="u9", tenant_partition="tp-2", requests={"cpu": 250}).waits_for.add(pod_uid="u1")
    return made


def claim() -> capacity_pb2.CapacityClaim:
    made = capacity_pb2.CapacityClaim()
    made.metadata.name = "u1"
    made.metadata.creation_timestamp.CopyFrom(Timestamp(seconds=1_700_000_090))
    spec = made.spec
    spec.node_name, spec.tenant_partition, spec.bind_epoch = "node-1", "tp-1", 2
    spec.tenant, spec.namespace, spec.pod_name = "acme", "shop", "web"
    spec.requests.update({"cpu": 500, "memory": GI})
    return made


def cells(kind: kinds.Kind, message: object, *, wide: bool = False) -> dict[str, str]:
    view = View(now=NOW, wide=wide)
    chosen = columns.of(kind, view)
    [row] = columns.rows([Item(kind, message, RP)], chosen, view)
    return dict(zip([column.header for column in chosen], row, strict=True))


@pytest.mark.parametrize(
    ("resource", "value", "text"),
    [
        ("cpu", 500, "500m"),
        ("cpu", 32_000, "32"),
        ("memory", 256 * GI, "256Gi"),
        ("memory", 1_000_000_001, "1000000001"),
        ("memory", 0, "0"),
        ("hugepages-2Mi", 4 << 20, "4Mi"),
        ("pods", 110, "110"),
        ("example.com/gpu", 2048, "2048"),
    ],
)
def test_amounts_read_like_quantities(resource: str, value: int, text: str) -> None:
    assert capacity.amount(resource, value) == text


def test_a_claim_is_a_row_of_where_whose_and_how_much() -> None:
    assert cells(kinds.CAPACITY_CLAIMS, claim()) == {
        "NAME": "u1",
        "RP": "rp-1",
        "NODE": "node-1",
        "TP": "tp-1",
        "POD": "acme/shop/web",
        "REQUESTS": "cpu=500m,memory=1Gi",
        "AGE": "10s",
    }
    assert cells(kinds.CAPACITY_CLAIMS, claim(), wide=True)["EPOCH"] == "2"


def test_a_ledger_is_a_row_of_claimed_of_allocatable() -> None:
    assert cells(kinds.CAPACITY_LEDGERS, ledger(), wide=True) == {
        "NAME": "node-1",
        "RP": "rp-1",
        "PODS": "3/110",
        "CPU": "2/32",
        "MEMORY": "3584Mi/256Gi",
        "PROMISES": "1",
        "AGE": "100s",
        "PODS BY TP": "tp-1=2,tp-2=1",
        "OTHERS": "example.com/gpu=0/4",
    }


def test_a_node_shows_what_is_claimed_of_it_and_by_whom() -> None:
    node = node_pb2.Node()
    node.metadata.name = "node-1"
    lines = [" ".join(line.split()) for line in describing.describe(Item(kinds.NODES, node, RP), [], NOW, ledger())]
    assert "cpu 2 32" in lines and "memory 3584Mi 256Gi" in lines and "pods 3 110" in lines
    assert "tp-1 2 cpu=1500m,memory=3Gi" in lines
    assert "u9 tp-2 cpu=250m 1" in lines
    without = describing.describe(Item(kinds.NODES, node, RP), [], NOW)
    assert not any(line.startswith("Claimed") for line in without)
