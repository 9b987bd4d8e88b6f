"""What claims take of the rows: only what has changed is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.scheduler.core import NodeId, NodeTable
from services.scheduler.core.claimed import ClaimedRoom
from tests.support.scheduling import make_node


class Counted(Mapping[str, int]):
    """Amounts that count how often they are read."""

    def __init__(self, **amounts: int) -> None:
        self._amounts = amounts
        self.reads = 0

    def __getitem__(self, key: str) -> int:
        return self._amounts[key]

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)


def test_a_change_of_a_node_leaves_the_claims_of_all_nodes_alone() -> None:
    table, room = NodeTable(scheduler="s"), ClaimedRoom()
    amounts = [Counted(cpu=100 * number) for number in range(5)]
    for number, own in enumerate(amounts):
        table.upsert("rp-1", make_node(f"n{number}"))
        room.set(NodeId("rp-1", f"n{number}"), own, {})
    room.apply(table.freeze())
    assert [own.reads for own in amounts] == [1] * 5
    table.upsert("rp-1", make_node("n0", labels={"new": "label"}))
    table.set_stale("rp-1", True)
    room.set(NodeId("rp-1", "n1"), Counted(cpu=7), {})
    usage = room.apply(table.freeze()).usage
    assert [own.reads for own in amounts] == [1] * 5
    rows = [table.row(NodeId("rp-1", f"n{number}")) for number in range(5)]
    assert [int(usage.requested[table.freeze().nodes.resources["cpu"], row]) for row in rows] == [0, 7, 200, 300, 400]


def test_claims_follow_rows_that_change_hands() -> None:
    table, room = NodeTable(scheduler="s"), ClaimedRoom()
    table.upsert("rp-1", make_node("a"))
    room.set(NodeId("rp-1", "a"), {"cpu": 100}, {})
    room.set(NodeId("rp-1", "b"), {"cpu": 300}, {})
    room.apply(table.freeze())
    table.remove("rp-1", "a")
    table.upsert("rp-1", make_node("b"))
    usage = room.apply(table.freeze()).usage
    row = table.row(NodeId("rp-1", "b"))
    assert int(usage.requested[table.freeze().nodes.resources["cpu"], row]) == 300
