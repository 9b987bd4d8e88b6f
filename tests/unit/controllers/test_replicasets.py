"""What a replica set needs, whose pods are whose, and what is waited for: the rules one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.api import manifests
from services.api.kinds import REPLICA_SETS
from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.base.rand import NAME_ALPHABET, Rand
from services.client.informer import Change
from services.controllers.replicasets.decide import decide, deletion_order, status
from services.controllers.replicasets.facts import Belongings, Wanted, read_replica_set
from services.controllers.replicasets.pending import EXPIRES_S, Pending
from services.controllers.replicasets.template import PodMaker
from services.controllers.tenantpods import TenantPod
from tests.unit.controllers.tenant_pods import tenant_pod

NOW = 1_000_000.0
WEB = (("app", "web"),)


def wanted(replicas: int = 3, uid: str = "rs-1", **spec: Any) -> Wanted:
    metadata = {"name": "web", "tenant": "acme", "namespace": "default", "uid": uid, "generation": 4}
    labels = {"app": "web"}
    document = {
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": {**labels, "tier": "x"}}, "spec": {"containers": [{"name": "c"}]}},
            **spec,
        },
    }
    message: ReplicaSet = manifests.parse_json(REPLICA_SETS, document)
    return read_replica_set(message.SerializeToString())


def pods(count: int, **fields: Any) -> list[TenantPod]:
    return [tenant_pod(f"p{n}", **fields) for n in range(count)]


def test_what_is_missing_is_made_and_what_is_too_much_is_deleted() -> None:
    assert decide(wanted(3), pods(1), NOW, 500).create == 2
    assert decide(wanted(3), pods(3), NOW, 500) == decide(wanted(0), [], NOW, 500)
    plan = decide(wanted(1), pods(3), NOW, 500)
    assert plan.create == 0 and len(plan.delete) == 2


def test_no_look_does_more_than_its_burst() -> None:
    assert decide(wanted(2000), [], NOW, 500).create == 500
    assert len(decide(wanted(0), pods(2000), NOW, 500).delete) == 500


def test_a_replica_set_that_is_being_deleted_makes_and_deletes_nothing() -> None:
    ending = replace(wanted(3), ending=True)
    assert decide(ending, pods(1), NOW, 500).create == 0
    assert decide(ending, pods(9), NOW, 500).delete == ()


RUNNING: dict[str, Any] = {"node": "n1", "partition": "rp-1", "phase": "Running"}
READY: dict[str, Any] = {**RUNNING, "ready_since": int(NOW) - 1000}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (tenant_pod("z"), tenant_pod("a", node="n1", partition="rp-1")),
        (tenant_pod("z", node="n1", partition="rp-1"), tenant_pod("a", **{**RUNNING, "phase": "Unknown"})),
        (tenant_pod("z", **{**RUNNING, "phase": "Unknown"}), tenant_pod("a", **RUNNING)),
        (tenant_pod("z", **RUNNING), tenant_pod("a", **READY)),
        (tenant_pod("z", **READY, cost=-1), tenant_pod("a", **{**READY, "ready_since": int(NOW) - 1})),
        (tenant_pod("z", **{**READY, "ready_since": int(NOW) - 10}), tenant_pod("a", **READY)),
        (tenant_pod("a", **READY), tenant_pod("z", **{**READY, "ready_since": int(NOW) - 1010})),  # one magnitude: UID
        (tenant_pod("z", **READY, restarts=3), tenant_pod("a", **READY)),
        (tenant_pod("z", **READY, created=int(NOW) - 5), tenant_pod("a", **READY, created=10)),
    ],
    ids=[
        *("unassigned", "pending", "unknown", "not ready", "cheaper", "ready for less long"),
        *("about as long", "restarted more often", "newer"),
    ],
)
def test_whom_it_hurts_less_goes_first(first: TenantPod, second: TenantPod) -> None:
    assert deletion_order([second, first], NOW) == [first, second]


def test_of_two_on_one_node_one_goes_before_a_pod_that_is_alone() -> None:
    alone = tenant_pod("a", **{**READY, "node": "n2"})
    same_name_elsewhere = tenant_pod("b", **{**READY, "partition": "rp-2"})
    doubled = [tenant_pod("y", **READY), tenant_pod("z", **READY)]
    assert deletion_order([alone, same_name_elsewhere, *doubled], NOW)[:2] == doubled


def test_the_status_counts_what_there_is() -> None:
    one = wanted(4, minReadySeconds=10)
    both = (("app", "web"), ("tier", "x"))
    active = [
        tenant_pod("a", labels=both, ready_since=int(NOW) - 10),
        tenant_pod("b", labels=both, ready_since=int(NOW) - 9),
        tenant_pod("c", labels=WEB),
    ]
    found = status(one, active, 2, NOW, None)
    assert (found.replicas, found.fully_labeled_replicas, found.ready_replicas) == (3, 2, 2)
    assert (found.available_replicas, found.terminating_replicas, found.observed_generation) == (1, 2, 4)
    assert decide(one, active, NOW, 500).recheck_s == 1.0


def test_a_failure_is_told_with_the_time_it_began_and_until_it_is_over() -> None:
    one = wanted(1)
    told = status(one, [], 0, NOW, ("FailedCreate", "quota"))
    again = status(replace(one, status=told), [], 0, NOW + 60, ("FailedCreate", "quota, still"))
    [condition] = again.conditions
    assert (condition.type, condition.status, condition.reason) == ("ReplicaFailure", "True", "FailedCreate")
    assert (condition.message, condition.last_transition_time.seconds) == ("quota", int(NOW))
    assert not status(replace(one, status=told), [], 0, NOW, None).conditions


def test_pods_are_as_the_template_says_and_belong_to_their_set() -> None:
    maker = PodMaker(wanted(1), Rand(7))
    one, two = maker.make(), maker.make()
    assert one.metadata.name != two.metadata.name
    assert one.metadata.generate_name == "web-" and one.metadata.name.startswith("web-")
    suffix = one.metadata.name.removeprefix("web-")
    assert len(suffix) == 5 and set(suffix) <= set(NAME_ALPHABET)
    assert dict(one.metadata.labels) == {"app": "web", "tier": "x"}
    assert (one.metadata.tenant, one.metadata.namespace) == ("acme", "default")
    [owner] = one.metadata.owner_references
    assert (owner.api_version, owner.kind, owner.name, owner.uid) == ("apps/v1", "ReplicaSet", "web", "rs-1")
    assert owner.controller and owner.block_owner_deletion


def test_a_long_name_is_cut_so_that_the_suffix_fits() -> None:
    maker = PodMaker(replace(wanted(1), name="n" * 80), Rand(7))
    assert len(maker.name()) == 63


class TestBelongings:
    def test_pods_without_a_controller_are_candidates_of_those_that_select_them(self) -> None:
        held, one = Belongings(), wanted(1)
        held.see_set(None, one)
        stray = tenant_pod("s", labels=WEB)
        assert held.see_pod(Change("s", None, stray, "tp-1")) == {"rs-1"}
        assert held.candidates("rs-1") == [stray]
        owned = stray._replace(owner="rs-1")
        assert held.see_pod(Change("s", stray, owned, "tp-1")) == {"rs-1"}
        assert held.candidates("rs-1") == [] and list(held.owned("rs-1")) == [owned]

    def test_strays_that_were_there_first_are_found_when_the_set_comes(self) -> None:
        held = Belongings()
        for number, fields in enumerate(
            [{"labels": WEB}, {"labels": WEB, "ending": True}, {"labels": WEB, "namespace": "other"}, {}]
        ):
            held.see_pod(Change(str(number), None, tenant_pod(str(number), **fields), "tp-1"))
        held.see_set(None, wanted(1))
        assert [pod.uid for pod in held.candidates("rs-1")] == ["0"]

    def test_a_selector_without_a_fixed_label_finds_its_pods_too(self) -> None:
        held = Belongings()
        some = wanted(1, selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})
        held.see_set(None, some)
        held.see_pod(Change("s", None, tenant_pod("s", labels=WEB), "tp-1"))
        assert [pod.uid for pod in held.candidates("rs-1")] == ["s"]

    def test_what_is_gone_leaves_nothing_behind(self) -> None:
        held, one = Belongings(), wanted(1)
        stray, mine = tenant_pod("s", labels=WEB), tenant_pod("m", owner="rs-1")
        held.see_set(None, one)
        for pod in (stray, mine):
            held.see_pod(Change(pod.uid, None, pod, "tp-1"))
        held.see_set(one, None)
        assert held.candidates("rs-1") == []
        for pod in (stray, mine):
            held.see_pod(Change(pod.uid, pod, None, "tp-1"))
        assert not held._owned and not held._namespaces and not held._candidates


class TestPending:
    def test_a_write_is_seen_when_the_watch_has_come_as_far(self) -> None:
        pending = Pending()
        pending.wrote("rs", 10, 0.0)
        pending.wrote("rs", 8, 0.0)
        assert not pending.settled("rs", 9, {}, 1.0)
        assert not pending.settled("rs", None, {}, 1.0)  # it lists again: nothing is known
        assert pending.settled("rs", 10, {}, 1.0)
        assert pending.settled("other", None, {}, 1.0)

    def test_whoever_waits_is_told_when_the_watch_passes(self) -> None:
        pending = Pending()
        pending.wrote("a", 5, 0.0)
        pending.wrote("b", 7, 0.0)
        assert pending.passed(4) == []
        assert pending.passed(6) == ["a"]
        assert pending.passed(7) == ["b"]

    def test_a_removal_is_seen_when_the_pod_is_gone_or_going(self) -> None:
        pending = Pending()
        pending.removed("rs", ["x", "y"], 0.0)
        there = tenant_pod("x")
        assert not pending.settled("rs", 99, {"x": there, "y": tenant_pod("y")}, 1.0)
        assert not pending.settled("rs", 99, {"x": there}, 1.0)
        assert pending.settled("rs", 99, {"x": there._replace(ending=True)}, 1.0)

    def test_nothing_is_waited_for_for_ever(self) -> None:
        pending = Pending()
        pending.wrote("rs", 10, 0.0)
        assert not pending.settled("rs", 1, {}, EXPIRES_S - 1)
        assert pending.settled("rs", 1, {}, EXPIRES_S)
