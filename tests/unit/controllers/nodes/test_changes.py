"""What is written to nodes."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.controllers.nodes.changes import Execute, needs, revised, unknown, wanted
from services.controllers.nodes.facts import (
    NOT_READY,
    TTL_ANNOTATION,
    UNREACHABLE,
    UNSCHEDULABLE,
    NodeFact,
    Ready,
    read_node,
)

PREFIX = "node.kubernetes.io/"


def node(conditions: dict[str, str] | None = None, taints: tuple[tuple[str, str], ...] = ()) -> Node:
    made = Node()
    made.metadata.name, made.metadata.uid, made.metadata.resource_version = "n1", "u1", 7
    made.metadata.creation_timestamp.seconds = 50
    for kind, status in (conditions or {}).items():
        condition = made.status.conditions.add(type=kind, status=status, reason="Kubelet", message="said so")
        condition.last_heartbeat_time.seconds = 90
        condition.last_transition_time.seconds = 80
    for key, effect in taints:
        made.spec.taints.add(key=key, effect=effect, time_added=Timestamp(seconds=60))
    return made


def fact(*args: object, **more: object) -> NodeFact:
    return read_node(node(*args, **more).SerializeToString())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("condition", "status", "key"),
    [
        ("Ready", "False", "not-ready"),
        ("Ready", "Unknown", "unreachable"),
        ("MemoryPressure", "True", "memory-pressure"),
        ("DiskPressure", "True", "disk-pressure"),
        ("PIDPressure", "True", "pid-pressure"),
        ("NetworkUnavailable", "True", "network-unavailable"),
        ("Ready", "True", ""),
        ("MemoryPressure", "Unknown", ""),
        ("NetworkUnavailable", "False", ""),
    ],
)
def test_the_scheduling_taint_of_a_condition(condition: str, status: str, key: str) -> None:
    assert fact({condition: status}).unschedulable_for == ((PREFIX + key,) if key else ())


def test_a_cordoned_node_has_its_taint() -> None:
    made = node({"Ready": "True"})
    made.spec.unschedulable = True
    assert read_node(made.SerializeToString()).unschedulable_for == (UNSCHEDULABLE,)


@pytest.mark.parametrize(
    ("ready", "has", "granted", "stopped", "execute"),
    [
        ("True", "", True, False, Execute.NONE),
        ("True", NOT_READY, False, False, Execute.NONE),
        ("True", UNREACHABLE, False, False, Execute.NONE),
        ("False", "", False, False, Execute.NONE),  # not its turn yet
        ("False", "", True, False, Execute.NOT_READY),
        ("False", UNREACHABLE, False, False, Execute.NOT_READY),  # changes sides without waiting
        ("False", NOT_READY, False, False, Execute.NOT_READY),
        ("Unknown", "", True, False, Execute.UNREACHABLE),
        ("Unknown", NOT_READY, False, False, Execute.UNREACHABLE),
        ("Unknown", UNREACHABLE, False, True, Execute.NONE),  # all zones are lost: taken back
        ("False", NOT_READY, True, True, Execute.NONE),
    ],
)
def test_which_of_the_two_taints_a_node_is_to_have(
    ready: str, has: str, granted: bool, stopped: bool, execute: Execute
) -> None:
    seen = fact({"Ready": ready}, ((has, "NoExecute"),) if has else ())
    assert wanted(seen, granted=granted, stopped=stopped) is execute


def test_a_node_that_never_reported_is_given_up_only_once_it_is_told_lost() -> None:
    seen = fact()
    assert seen.ready is Ready.NEVER
    assert wanted(seen, granted=True, stopped=False) is Execute.NONE


def test_taints_of_others_stay_and_those_that_stay_keep_their_time() -> None:
    others = (("example.com/a", "NoExecute"), ("example.com/b", "NoSchedule"))
    seen = fact({"Ready": "Unknown"}, (*others, (UNREACHABLE, "NoSchedule"), (NOT_READY, "NoExecute")))
    assert needs(seen, Execute.UNREACHABLE, "")
    after = revised(seen, Execute.UNREACHABLE, "15", 100.0)
    assert [(t.key, t.effect, t.time_added.seconds) for t in after.spec.taints] == [
        *((key, effect, 60) for key, effect in others),
        (UNREACHABLE, "NoSchedule", 60),
        (UNREACHABLE, "NoExecute", 100),
    ]
    assert after.metadata.annotations[TTL_ANNOTATION] == "15"
    assert (after.metadata.uid, after.metadata.resource_version) == ("u1", 7)
    assert not needs(read_node(after.SerializeToString()), Execute.UNREACHABLE, "15")


def test_a_lost_node_is_unknown_in_four_respects_and_keeps_when_it_last_spoke() -> None:
    seen = fact({"Ready": "True", "MemoryPressure": "False", "DiskPressure": "Unknown", "NetworkUnavailable": "False"})
    update = unknown(seen, 200.0)
    found = {condition.type: condition for condition in update.status.conditions}
    assert found["NetworkUnavailable"].status == "False"
    for kind in ("Ready", "MemoryPressure"):
        assert (found[kind].status, found[kind].reason) == ("Unknown", "NodeStatusUnknown")
        assert (found[kind].last_heartbeat_time.seconds, found[kind].last_transition_time.seconds) == (90, 200)
    assert found["DiskPressure"].last_transition_time.seconds == 80  # was so already
    assert (found["PIDPressure"].status, found["PIDPressure"].reason) == ("Unknown", "NodeStatusNeverUpdated")
    assert found["PIDPressure"].last_heartbeat_time.seconds == 50
    assert (update.metadata.uid, update.metadata.resource_version) == ("u1", 7)
