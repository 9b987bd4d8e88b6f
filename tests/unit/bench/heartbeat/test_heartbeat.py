"""A heartbeat run counts only if every node stayed as it was and every lease was renewed."""

from __future__ import annotations

import base64
import json
import tomllib

import numpy as np
import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.bench.heartbeat import figures, hosts, leases
from services.bench.heartbeat.leases import Versions
from services.bench.heartbeat.parameters import HeartbeatParameters
from services.bench.heartbeat.renewals import Counted
from services.bench.heartbeat.window import Window
from services.bench.heartbeat.witness import Witness
from services.bench.histograms import Histogram
from services.bench.observe.observations import Etcd, Observations

ADDED, MODIFIED, DELETED = 1, 2, 3
PARAMETERS = HeartbeatParameters(nodes=2, renew_seconds=10.0, lease_seconds=40)


def node(name: str, status: str = "True", *, at: int = 1, uid: str = "u") -> Node:
    made = Node()
    made.metadata.name, made.metadata.uid = name, uid
    condition = made.status.conditions.add(type="Ready", status=status)
    condition.last_transition_time.seconds = at
    return made


def holding() -> Witness:
    witness = Witness(2)
    witness.begin(5.0)
    witness.take("rp-1", node("beat-a"), ADDED, 10.0)
    witness.take("rp-1", node("beat-b"), ADDED, 12.0)
    witness.take("rp-1", node("hollow-rp-1-0000"), ADDED, 13.0)
    witness.hold()
    return witness


def counted(acknowledged: float = 120, **stored: int) -> Counted:
    return Counted(acknowledged, 0, 120, stored or {"beat-a": 60, "beat-b": 60}, Histogram(), "RENEW", 600.0, 600.0)


def test_nodes_have_joined_when_all_are_ready_and_others_do_not_count() -> None:
    witness = Witness(2)
    witness.begin(5.0)
    witness.take("rp-1", node("beat-a", "Unknown"), ADDED, 9.0)
    witness.take("rp-1", node("beat-b"), ADDED, 10.0)
    witness.take("rp-1", node("hollow-rp-1-0000"), ADDED, 10.0)
    assert not witness.all_ready.is_set()
    witness.take("rp-1", node("beat-a", at=2), MODIFIED, 12.0)
    assert witness.all_ready.is_set()
    assert witness.joined_s == 7.0


def test_a_status_that_says_the_same_again_is_no_violation() -> None:
    witness = holding()
    witness.take("rp-1", node("beat-a"), MODIFIED, 20.0)
    witness.replaced("rp-1", {"beat-a", "beat-b"})
    assert witness.violations == []
    assert figures.problems(PARAMETERS, witness, counted()) == []


@pytest.mark.parametrize(
    ("change", "event", "said"),
    [
        (node("beat-a", "Unknown", at=50), MODIFIED, "rp-1/beat-a was not Ready (Unknown)"),
        (node("beat-a", "True", at=60), MODIFIED, "rp-1/beat-a was Ready again"),
        (node("beat-a"), DELETED, "rp-1/beat-a was deleted"),
        (node("beat-a", uid="another"), MODIFIED, "rp-1/beat-a is another node of that name"),
        (node("beat-c"), ADDED, "rp-1/beat-c appeared while all were there"),
    ],
    ids=["lost", "lost while nobody watched", "deleted", "made anew", "one too many"],
)
def test_what_must_not_happen_to_a_node_is_told(change: Node, event: int, said: str) -> None:
    witness = holding()
    witness.take("rp-1", change, event, 30.0)
    assert said in witness.violations
    assert said in "; ".join(figures.problems(PARAMETERS, witness, counted()))


def test_a_node_that_is_missing_when_a_watch_begins_anew_was_deleted() -> None:
    witness = holding()
    witness.replaced("rp-1", {"beat-b"})
    assert witness.violations == ["rp-1/beat-a was deleted"]
    assert witness.ready == 1


def test_a_lease_that_was_renewed_too_rarely_is_told() -> None:
    found = figures.problems(PARAMETERS, holding(), counted(100, **{"beat-a": 60, "beat-b": 40}))
    assert found == ["1 leases were written less than 52 times, beat-b 40 times"]


def test_a_renewal_that_was_acknowledged_and_is_not_stored_is_told() -> None:
    [found] = figures.problems(PARAMETERS, holding(), counted(150))
    assert found == "150 renewals were acknowledged, and 120 stored"


def test_heartbeats_are_counted_by_the_time_between_the_readings_and_not_by_the_windows() -> None:
    """The readings enclose the window: what was stored beside it would make each heartbeat cheaper than it is."""
    etcd = Etcd("etcd-rp-1", at_s=np.array([0.0, 600.0]), wal_bytes=np.array([0.0, 36_000.0]))
    seen = Observations(0.0, 0.0, 600.0, {}, {etcd.name: etcd}, {}, (), {}, (), 0.0)
    read = Counted(126, 0, 126, {"beat-a": 63, "beat-b": 63}, Histogram(), "RENEW", 630.0, 610.0)
    machine = {"etcd": "3.5.1", "data_filesystem": "tmpfs"}
    report = figures.evaluate(PARAMETERS, holding(), read, Window(seen, 0.0, 600.0), [], machine)
    found = report.figures
    assert report.to_json()["machine"].items() >= machine.items()
    assert found["wal_bytes_per_heartbeat"].value == pytest.approx(300.0)
    assert found["renewals_stored_per_second"].value == pytest.approx(0.2)
    assert found["renewals_acknowledged_per_second"].value == pytest.approx(126 / 610)


def test_nodes_without_a_lease_are_told() -> None:
    [found] = figures.problems(PARAMETERS, holding(), counted(60, **{"beat-a": 60}))
    assert found == "etcd has leases of 1 nodes, not of 2"


def test_writes_are_counted_by_versions_and_a_new_lease_from_its_making() -> None:
    before = Versions(100, {"a": (5, 10), "b": (6, 10)})
    after = Versions(200, {"a": (5, 17), "b": (150, 3), "c": (160, 1)})
    assert leases.writes(before, after) == {"a": 7, "b": 3, "c": 1}


def test_versions_are_read_from_etcds_answer() -> None:
    key = base64.b64encode(b"/ursa/leases/system/kube-node-lease/beat-a").decode()
    answer = {"header": {"revision": "9"}, "kvs": [{"key": key, "create_revision": "3", "version": "4"}]}
    assert leases.parsed(json.dumps(answer).encode()) == Versions(9, {"beat-a": (3, 4)})
    assert leases.parsed(b'{"header": {"revision": "9"}}') == Versions(9, {})


@pytest.mark.parametrize(("seconds", "least"), [(600.0, 52), (60.0, 0), (10.0, 0)])
def test_a_gap_longer_than_the_lease_would_leave_fewer_writes(seconds: float, least: int) -> None:
    assert leases.least_due(seconds, 10.0, 40.0) == least


def test_nodes_are_shared_evenly_and_none_is_lost() -> None:
    shares = [hosts.share(10_001, index, 6) for index in range(6)]
    assert sum(shares) == 10_001
    assert max(shares) - min(shares) == 1


def test_a_hosts_configuration_is_toml_with_the_names_that_are_counted() -> None:
    text = hosts.config("kubelet-1", {"rp-1": 3, "rp-2": 2}, {"rp-1": "h:1", "rp-2": "h:2"}, 99, PARAMETERS)
    found = tomllib.loads(text)
    assert [pool["nodes"] for pool in found["pools"]] == [3, 2]
    assert all(pool["name_prefix"].startswith(hosts.PREFIX) for pool in found["pools"])
    assert found["timing"] == {"lease_duration_s": 40, "lease_renew_s": 10.0}


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        (HeartbeatParameters(nodes=3), "--nodes 3"),
        (HeartbeatParameters(renew_seconds=40.0), "--lease-seconds 40"),
        (HeartbeatParameters().quick(), ""),
    ],
)
def test_parameters_that_cannot_be_are_named(parameters: HeartbeatParameters, problem: str) -> None:
    assert parameters.problems().startswith(problem)
    assert bool(parameters.problems()) == bool(problem)
