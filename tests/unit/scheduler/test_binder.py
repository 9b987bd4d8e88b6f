"""What a bind's answer means, and what a bind says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.client.clientset import Outcome
from services.rpc import status
from services.rpc.status import StatusError
from services.scheduler.attempt import Attempt
from services.scheduler.binder import Binder, Fate, binding_of, fate_of
from services.scheduler.core import NodeId, PodClasses
from services.scheduler.queue import Entry, Place
from tests.support.scheduling import make_pod


def attempt(name: str = "web", epoch: int = 0) -> Attempt:
    pod = PodClasses().info(make_pod(name))
    return Attempt(pod, NodeId("rp-1", "node-1"), "uid-node-1", epoch, Entry(pod, Place.TAKEN, 0.0))


class Pods:
    def __init__(self, *answers: StatusError | None, lost: StatusError | None = None) -> None:
        self.answers = answers
        self.lost = lost
        self.sent: list[Binding] = []

    async def batch_bind(self, bindings: Sequence[Binding], *, timeout_s: float) -> Sequence[Outcome]:
        self.sent += bindings
        if self.lost is not None:
            raise self.lost
        return [
            Outcome(answer, b.metadata.name, b.metadata.uid, 1)
            for answer, b in zip(self.answers, bindings, strict=True)
        ]


def test_the_binding_names_the_pod_by_uid_and_epoch_and_the_node_with_its_partition() -> None:
    binding = binding_of(attempt(epoch=3))
    assert (binding.metadata.tenant, binding.metadata.namespace, binding.metadata.name) == ("acme", "default", "web")
    assert binding.metadata.uid == "uid-acme-default-web"
    assert (binding.target.kind, binding.target.name, binding.target.uid) == ("Node", "node-1", "uid-node-1")
    assert (binding.resource_partition, binding.bind_epoch, binding.capacity_claimed) == ("rp-1", 3, True)


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (None, Fate.BOUND),
        (status.not_found("pods", "web"), Fate.REFUSED),
        (status.conflict("pods", "web", "bound"), Fate.REFUSED),
        (status.forbidden("no"), Fate.REFUSED),
        (status.unavailable("lost"), Fate.UNKNOWN),
        (status.resource_exhausted("TooManyRequests", "busy"), Fate.UNKNOWN),
    ],
)
def test_only_definite_answers_are_answers(error: StatusError | None, fate: Fate) -> None:
    assert fate_of(error) is fate


async def test_each_pod_of_a_batch_has_its_own_fate() -> None:
    pods = Pods(None, status.conflict("pods", "b", "bound"), status.unavailable("lost"))
    fates = await Binder(pods, timeout_s=1.0).send([attempt("a"), attempt("b"), attempt("c")])
    assert fates == [Fate.BOUND, Fate.REFUSED, Fate.UNKNOWN]


async def test_a_batch_without_an_answer_is_unknown_for_every_pod() -> None:
    fates = await Binder(Pods(lost=status.unavailable("lost")), timeout_s=1.0).send([attempt("a"), attempt("b")])
    assert fates == [Fate.UNKNOWN, Fate.UNKNOWN]
