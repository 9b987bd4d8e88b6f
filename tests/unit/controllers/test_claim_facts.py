"""When a claim is asked about, and which answers end it."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import ClaimRelease
from services.controllers.claims.facts import (
    Claim,
    Look,
    Stay,
    judge,
    look,
    read_claim,
    revocation,
)
from services.controllers.pods import SeenPod, read_pod
from tests.support.claims import claim as stored_claim

CLAIM = Claim("u1", "node-1", "tp-1", "acme", "default", "web", epoch=3, created=0.0, version=9)
State = RevocationOutcome.State


def outcome(state: State, *, uid: str = "u1", node: str = "", partition: str = "", epoch: int = 0) -> RevocationOutcome:
    return RevocationOutcome(uid=uid, state=state, node_name=node, resource_partition=partition, bind_epoch=epoch)


@pytest.mark.parametrize(
    ("pod", "gone", "when"),
    [
        (None, False, Look.LATER),  # claimed, and not bound yet
        (None, True, Look.NOW),  # deleted
        (SeenPod("u1", "node-1", False, 1), False, Look.NEVER),  # bound where it should be
        (SeenPod("u1", "node-1", True, 1), False, Look.NOW),  # finished
        (SeenPod("u1", "node-2", False, 1), False, Look.NOW),  # bound to another node
    ],
)
def test_when_a_claim_is_asked_about(pod: SeenPod | None, gone: bool, when: Look) -> None:
    assert look(CLAIM, pod, gone=gone) is when


def test_the_question_names_the_epoch_that_must_not_bind() -> None:
    asked = revocation(CLAIM)
    assert (asked.tenant, asked.namespace, asked.name, asked.uid, asked.bind_epoch) == (
        "acme",
        "default",
        "web",
        "u1",
        3,
    )


@pytest.mark.parametrize(
    ("answer", "release"),
    [
        (outcome(RevocationOutcome.ABSENT), ClaimRelease(pod_uid="u1", fact=ClaimRelease.ABSENT)),
        (outcome(RevocationOutcome.TERMINAL), ClaimRelease(pod_uid="u1", fact=ClaimRelease.TERMINAL)),
        (
            outcome(RevocationOutcome.BOUND, node="node-2", partition="rp-1"),
            ClaimRelease(pod_uid="u1", fact=ClaimRelease.BOUND_ELSEWHERE, node_name="node-2"),
        ),
        # The same name in another partition is another node.
        (
            outcome(RevocationOutcome.BOUND, node="node-1", partition="rp-2"),
            ClaimRelease(pod_uid="u1", fact=ClaimRelease.BOUND_ELSEWHERE, node_name=""),
        ),
        (
            outcome(RevocationOutcome.REVOKED, epoch=4),
            ClaimRelease(pod_uid="u1", fact=ClaimRelease.REVOKED, bind_epoch=3),
        ),
        (
            outcome(RevocationOutcome.REVOKED, epoch=8),
            ClaimRelease(pod_uid="u1", fact=ClaimRelease.REVOKED, bind_epoch=7),
        ),
    ],
)
def test_facts_that_end_a_claim(answer: RevocationOutcome, release: ClaimRelease) -> None:
    assert judge(CLAIM, answer, "rp-1") == release


@pytest.mark.parametrize(
    ("answer", "stay"),
    [
        (outcome(RevocationOutcome.BOUND, node="node-1", partition="rp-1"), Stay.BOUND_HERE),
        (outcome(RevocationOutcome.STATE_UNSPECIFIED), Stay.NOT_KNOWN),
        # A bind of the claim's own epoch could still commit.
        (outcome(RevocationOutcome.REVOKED, epoch=3), Stay.NOT_KNOWN),
        # An answer about somebody else.
        (outcome(RevocationOutcome.ABSENT, uid="u2"), Stay.NOT_KNOWN),
    ],
)
def test_answers_that_end_nothing(answer: RevocationOutcome, stay: Stay) -> None:
    assert judge(CLAIM, answer, "rp-1") is stay


def test_what_is_kept_of_the_objects() -> None:
    pod = Pod()
    pod.metadata.uid, pod.metadata.name, pod.metadata.resource_version = "u1", "web", 5
    pod.metadata.tenant, pod.metadata.namespace = "acme", "default"
    pod.spec.node_name, pod.status.phase = "node-1", "Failed"
    assert read_pod(pod.SerializeToString()) == SeenPod("u1", "node-1", True, 5, "acme", "default", "web")
    message = stored_claim(pod, "node-1", epoch=3, created=77.0)
    message.metadata.resource_version = 9
    assert read_claim(message.SerializeToString()) == CLAIM._replace(created=77.0)
