"""What a bind's answer means, and that an open outcome is found out by reading."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Binding, Pod
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.rpc import status
from services.rpc.status import StatusError
from services.scheduler.binder import Binder, Fate, binding_of, fate_of
from services.scheduler.core import NodeId, Placement, PodClasses
from tests.support.client_world import until
from tests.support.scheduling import make_pod

NODE = NodeId("rp-1", "node-1")


def placement(name: str = "web") -> Placement:
    return Placement(PodClasses().info(make_pod(name)), NODE, "uid-node-1")


class Pods:
    """Answers binds and reads from scripts; what is not scripted succeeds (bind) or is unbound (read)."""

    def __init__(self, binds: Sequence[StatusError | None] = (), reads: Sequence[StatusError | Pod] = ()) -> None:
        self.binds = list(binds)
        self.reads = list(reads)
        self.sent: list[list[str]] = []

    async def batch_bind(self, bindings: Sequence[Binding], *, timeout_s: float) -> Sequence[Outcome]:
        self.sent.append([binding.metadata.name for binding in bindings])
        answer = self.binds.pop(0) if self.binds else None
        if answer is not None and answer.code is grpc.StatusCode.UNAVAILABLE:
            raise answer
        return [Outcome(answer, binding.metadata.name, binding.metadata.uid, 1) for binding in bindings]

    async def get(self, name: str, *, tenant: str, namespace: str) -> Pod:
        answer = self.reads.pop(0) if self.reads else make_pod(name)
        if isinstance(answer, StatusError):
            raise answer
        return answer


async def settled(pods: Pods, *, wanted: bool = True, usable: bool = True) -> list[Fate]:
    clock, fates = FakeClock(), []
    binder = Binder(
        pods,
        lambda outcomes: fates.extend(fate for _, fate in outcomes),
        wanted=lambda _: wanted,
        usable=lambda _: usable,
        clock=clock,
        rand=Rand(1),
        timeout_s=5.0,
    )
    async with Supervisor() as tasks:
        unknown = await binder.send([placement()])
        task = tasks.start(binder.resolve(unknown), name="resolve")
        await until(clock, task.done)
    return fates


LOST = status.unavailable("lost")


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (None, Fate.BOUND),
        (status.not_found("pods", "web"), Fate.GONE),
        (status.conflict("pods", "web", "bound already"), Fate.CONFLICT),
        (status.forbidden("no"), Fate.REFUSED),
        (status.wrong_partition("acme", "tp-2", ""), Fate.REFUSED),
        (status.unavailable("down"), Fate.UNKNOWN),
        (status.internal("bug"), Fate.UNKNOWN),
        (StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout", "late"), Fate.UNKNOWN),
    ],
)
def test_only_definite_codes_are_an_answer(error: StatusError | None, fate: Fate) -> None:
    assert fate_of(error) is fate


def test_a_binding_says_which_pod_and_which_node_were_meant() -> None:
    binding = binding_of(placement())
    assert binding.metadata.uid == "uid-acme-default-web" and binding.metadata.tenant == "acme"
    assert (binding.resource_partition, binding.target.name, binding.target.uid) == ("rp-1", "node-1", "uid-node-1")


async def test_a_lost_answer_of_a_committed_bind_is_found_by_reading() -> None:
    pods = Pods([LOST], [make_pod("web", node=NODE)])
    assert await settled(pods) == [Fate.BOUND]
    assert pods.sent == [["web"]]


async def test_a_bind_that_did_not_arrive_is_sent_again() -> None:
    pods = Pods([LOST, LOST])
    assert await settled(pods) == [Fate.BOUND]
    assert pods.sent == [["web"]] * 3


async def test_reads_that_fail_are_repeated_before_anything_is_sent() -> None:
    pods = Pods([LOST], [LOST, LOST, make_pod("web", node=("rp-2", "node-1"))])
    assert await settled(pods) == [Fate.CONFLICT]
    assert pods.sent == [["web"]]


async def test_a_pod_that_is_gone_or_another_one_is_gone() -> None:
    assert await settled(Pods([LOST], [status.not_found("pods", "web")])) == [Fate.GONE]
    other = make_pod("web")
    other.metadata.uid = "another"
    assert await settled(Pods([LOST], [other])) == [Fate.GONE]


async def test_a_bind_that_nobody_waits_for_any_more_is_dropped() -> None:
    pods = Pods([LOST])
    assert await settled(pods, wanted=False) == []
    assert pods.sent == [["web"]]


async def test_an_unbound_pod_whose_node_is_no_candidate_any_more_is_planned_anew() -> None:
    pods = Pods([LOST])
    assert await settled(pods, usable=False) == [Fate.REFUSED]
    assert pods.sent == [["web"]]


async def test_a_bind_that_is_never_answered_goes_back_to_the_queue_once_it_was_read_as_unbound_often_enough() -> None:
    pods = Pods([LOST] * 20)
    assert await settled(pods) == [Fate.REFUSED]
    assert len(pods.sent) == 5
