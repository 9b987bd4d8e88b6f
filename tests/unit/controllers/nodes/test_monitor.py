"""Who is lost, and what is written about whom."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.client.informer import Change
from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.facts import (
    EXCLUDED_LABEL,
    LEASE_NAMESPACE,
    ZONE_LABEL,
    LeaseFact,
    NodeFact,
    read_lease,
    read_node,
)
from services.controllers.nodes.monitor import NodeMonitor
from services.controllers.nodes.ttl import TtlStep

CONFIG = NodesConfig(eviction_rate_per_s=1.0)


def node(name: str, ready: str = "True", *, zone: str = "a", reported: int = 1, excluded: bool = False) -> NodeFact:
    made = Node()
    made.metadata.name, made.metadata.uid, made.metadata.resource_version = name, f"uid-{name}", reported
    made.metadata.labels[ZONE_LABEL] = zone
    if excluded:
        made.metadata.labels[EXCLUDED_LABEL] = ""
    if ready:
        made.status.conditions.add(type="Ready", status=ready).last_heartbeat_time.seconds = reported
    return read_node(made.SerializeToString())


class Scene:
    """A monitor whose pulses come every second until ``at``."""

    def __init__(self, *nodes: NodeFact) -> None:
        self.monitor = NodeMonitor(CONFIG)
        self.monitor.proof.connected(True)
        self.now = 0.0
        self.pulse(0.0)
        self.see(*nodes)

    def see(self, *nodes: NodeFact) -> None:
        facts = self.monitor.table.facts
        changes = [Change(one.name, facts.get(one.name), one, "rp-1") for one in nodes]
        self.monitor.nodes_changed(changes, self.now)

    def renew(self, *names: str) -> None:
        number = int(self.now * 10)
        changes = [Change(n, LeaseFact(n, True, 1, number - 1), LeaseFact(n, True, 2, number), "") for n in names]
        self.monitor.leases_changed(changes, self.now)

    def pulse(self, at: float) -> None:
        mark = int(at * 1000) + 7
        self.monitor.proof.sent(mark, at)
        self.now = at
        pulse = LeaseFact("kube-system/pulse", False, 1, mark)
        self.monitor.leases_changed([Change("", None, pulse, "")], at)

    def until(self, at: float, *alive: str) -> None:
        while self.now < at:
            self.pulse(self.now + 1.0)
            if int(self.now) % 10 == 0:
                self.renew(*alive)

    def lost(self) -> list[str]:
        self.monitor.look(self.now)
        return sorted(write.fact.name for write in self.monitor.take_lost(100, self.now, 1000.0))


def test_a_node_is_lost_after_its_whole_grace_period_and_not_before() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(50, "n2")
    assert scene.lost() == []
    scene.until(52, "n2")
    assert scene.lost() == ["n1"]


def test_a_status_report_is_a_sign_of_life_as_good_as_a_renewal() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(40, "n2")
    scene.see(node("n1", reported=2))
    scene.until(80, "n2")
    assert scene.lost() == []
    scene.until(92, "n2")
    assert scene.lost() == ["n1"]


def test_a_change_of_the_node_that_its_kubelet_did_not_make_is_none() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(40, "n2")
    scene.see(node("n1", zone="b"))
    scene.until(52, "n2")
    assert scene.lost() == ["n1"]


def test_a_lease_whose_renew_time_did_not_advance_is_no_sign_of_life() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(40, "n2")
    same = LeaseFact("n1", True, 9, 5)
    scene.monitor.leases_changed([Change("n1", same._replace(version=8), same, "")], scene.now)
    scene.until(52, "n2")
    assert scene.lost() == ["n1"]


def test_a_node_without_a_status_has_the_startup_grace() -> None:
    scene = Scene(node("n1", ""), node("n2"))
    scene.until(60, "n2")
    assert scene.lost() == []
    scene.until(62, "n2")
    assert scene.lost() == ["n1"]


def test_nobody_is_lost_on_time_that_was_not_seen() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(45, "n2")
    scene.now = 500.0  # stopped, and on again: the first thing that happens is a look
    assert scene.lost() == []
    scene.pulse(500.5)
    assert scene.lost() == []
    scene.until(550, "n2")
    assert scene.lost() == []
    scene.until(552, "n2")
    assert scene.lost() == ["n1"]


def test_what_was_found_lost_is_not_written_after_a_pause() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(60, "n2")
    scene.monitor.look(scene.now)
    assert scene.monitor.take_lost(10, scene.now + 100.0, 0.0) == []


def test_a_node_that_renewed_after_its_condition_was_written_is_not_tainted() -> None:
    scene = Scene(node("n1", "Unknown"), node("n2"))
    scene.until(60, "n2")
    scene.renew("n1")
    scene.monitor.look(scene.now)
    scene.monitor.grant(scene.now)
    assert [write.evicts for write in scene.monitor.take_revisions(10, scene.now, 0.0) if write.fact.name == "n1"] == [
        False
    ]
    scene.until(112, "n2")
    scene.monitor.look(scene.now)
    scene.monitor.grant(scene.now)
    assert [write.fact.name for write in scene.monitor.take_revisions(10, scene.now, 0.0) if write.evicts] == ["n1"]


def test_a_grant_is_worth_nothing_after_a_pause() -> None:
    scene = Scene(node("n1", "Unknown"), node("n2"))
    scene.until(60, "n2")
    scene.monitor.look(scene.now)
    scene.monitor.grant(scene.now)
    assert not any(write.evicts for write in scene.monitor.take_revisions(10, scene.now + 100.0, 0.0))
    # It waits for its turn again, and is not forgotten.
    scene.until(130, "n2")
    scene.monitor.look(scene.now)
    scene.monitor.grant(scene.now)
    assert [write.fact.name for write in scene.monitor.take_revisions(10, scene.now, 0.0) if write.evicts] == ["n1"]


def test_nodes_that_are_excluded_do_not_count_in_their_zone() -> None:
    scene = Scene(node("n1"), node("n2", "False", excluded=True))
    scene.monitor.look(scene.now)
    [count] = scene.monitor.zones.counts.values()
    assert (count.nodes, count.unhealthy) == (1, 0)


def test_a_zone_of_excluded_nodes_alone_has_no_state_and_its_nodes_go_all_the_same() -> None:
    scene = Scene(node("n1"), node("n2", "False", zone="b", excluded=True))
    scene.monitor.look(scene.now)
    assert list(scene.monitor.zones.states) == [":a"]
    scene.monitor.grant(scene.now)
    assert [write.fact.name for write in scene.monitor.take_revisions(10, scene.now, 0.0) if write.evicts] == ["n2"]


def test_a_zone_of_excluded_nodes_alone_stops_with_all_others() -> None:
    scene = Scene(node("n1", "False"), node("n2", "False", zone="b", excluded=True))
    scene.monitor.look(scene.now)
    assert scene.monitor.zones.stopped
    scene.monitor.grant(scene.now)
    assert not [write for write in scene.monitor.take_revisions(10, scene.now, 0.0) if write.evicts]


def test_silence_counts_in_the_zone_before_the_condition_says_so() -> None:
    scene = Scene(node("n1"), node("n2"))
    scene.until(60)
    scene.monitor.look(scene.now)
    assert scene.monitor.zones.stopped


def test_a_node_that_is_gone_is_forgotten_and_its_row_used_again() -> None:
    scene = Scene(*(node(f"n{number}") for number in range(200)))
    for number in range(0, 200, 2):
        gone = scene.monitor.table.facts[f"n{number}"]
        scene.monitor.nodes_changed([Change(gone.name, gone, None, "")], scene.now)
    scene.see(*(node(f"m{number}") for number in range(100)))
    assert len(scene.monitor.table) == 200
    scene.until(52, *(f"m{number}" for number in range(100)))
    assert scene.lost() == sorted(f"n{number}" for number in range(1, 200, 2))


def test_what_is_read_of_a_lease() -> None:
    lease = Lease()
    lease.metadata.name, lease.metadata.namespace, lease.metadata.resource_version = "n1", LEASE_NAMESPACE, 5
    lease.spec.renew_time.seconds, lease.spec.renew_time.nanos = 7, 8
    assert read_lease(lease.SerializeToString()) == LeaseFact("n1", True, 5, 7_000_000_008)
    lease.metadata.namespace = "kube-system"
    assert read_lease(lease.SerializeToString()) == LeaseFact("kube-system/n1", False, 5, 7_000_000_008)


@pytest.mark.parametrize(
    ("sizes", "ttls"),
    [
        ([0, 100, 101, 95, 89], [0, 0, 15, 15, 0]),
        ([501, 460, 449], [30, 30, 15]),
        ([1001, 2001, 1800, 1799, 50], [60, 300, 300, 60, 0]),
        ([50_000], [300]),
    ],
)
def test_the_ttl_follows_the_size_with_hysteresis(sizes: list[int], ttls: list[int]) -> None:
    step, found = TtlStep(), []
    for size in sizes:
        step.resize(size)
        found.append(step.ttl_s)
    assert found == ttls


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grace_s", 0.0),
        ("monitor_period_s", -1.0),
        ("unhealthy_zone_threshold", 1.5),
        ("eviction_rate_per_s", -0.1),
        ("batch_nodes", 0),
        ("batch_pods", 5000),
        ("blind_after_s", 50.0),
        ("blind_after_s", 3.0),
        ("startup_grace_s", 1.0),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_the_name_of_its_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        NodesConfig(**{field: value})
