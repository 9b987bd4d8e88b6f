"""Makes and deletes the pods of replica sets, in batches that all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest, Preconditions
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.calls import is_retryable
from services.client.clientset import Clientset, Outcome
from services.controllers.batching import BatchLane
from services.controllers.replicasets import metrics
from services.controllers.replicasets.facts import Wanted
from services.controllers.replicasets.template import PodMaker
from services.controllers.tenant_config import ReplicaSetsConfig
from services.controllers.tenantpods import TenantPod
from services.rpc.status import StatusError

# A name that is taken is replaced by another so many times.
NAMES_MAX = 8
# A write without an answer is sent again so many times (about half a minute); then it is one that failed.
TRIES_MAX = 10
NAMESPACE_TERMINATING = "NamespaceTerminating"


@dataclass
class Written:
    """``names``: of the pods that were written. ``version``: of the last write, 0: none. ``removed``: UIDs of pods that
    are gone, nobody says since when. ``failure``: the first one."""

    version: int = 0
    names: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failure: StatusError | None = None


class PodWriter:
    """Works while ``run`` runs."""

    def __init__(self, clients: Clientset, config: ReplicaSetsConfig, clock: Clock, rand: Rand) -> None:
        self._pods = clients.pods
        self._config = config
        self._clock = clock
        self._rand = rand
        timeout_s, items = config.call_timeout_s, config.batch_pods
        sets = clients.replica_sets
        self._creates: BatchLane[Pod] = BatchLane(
            lambda pods: self._pods.batch_create(pods, timeout_s=timeout_s), items_max=items
        )
        self._deletes: BatchLane[DeleteRequest] = BatchLane(
            lambda requests: self._pods.batch_delete(requests, timeout_s=timeout_s), items_max=items
        )
        self._statuses: BatchLane[ReplicaSet] = BatchLane(
            lambda objects: sets.batch_update_status(objects, timeout_s=timeout_s), items_max=items
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with Supervisor() as tasks:
            for number in range(self._config.batches_in_flight):
                tasks.start(self._creates.run(), name=f"creates-{number}")
                tasks.start(self._deletes.run(), name=f"deletes-{number}")
            tasks.start(self._statuses.run(), name="statuses")
            await asyncio.get_running_loop().create_future()

    async def create(self, wanted: Wanted, count: int) -> Written:
        """Make ``count`` pods: one first, then twice as many each time, so that what cannot be made is tried once and
        not ``count`` times (upstream ``slowStartBatch``)."""
        maker = PodMaker(wanted, self._rand)
        written = Written()
        size = 1
        while len(written.names) < count and written.failure is None:
            pods = [maker.make() for _ in range(min(size, count - len(written.names)))]
            if not await self._create(maker, wanted, pods, written):
                break
            size *= 2
        metrics.CREATED.inc(len(written.names))
        return written

    async def _create(self, maker: PodMaker, wanted: Wanted, pods: list[Pod], written: Written) -> bool:
        """Until every pod has a definite answer. False: the namespace is going, there is nothing to make any more."""
        backoff = Backoff(self._rand, initial_s=0.2, maximum_s=5.0)
        names_left = [NAMES_MAX] * len(pods)
        doubted = [False] * len(pods)
        left = list(range(len(pods)))
        open_ended = True
        for last in _tries():
            again: list[int] = []
            pause = False
            outcomes = await self._creates.submit([pods[number] for number in left])
            for number, outcome in zip(left, outcomes, strict=True):
                if doubted[number] and _taken(outcome.status):
                    outcome = await self._whose(pods[number], wanted)
                failure = outcome.status
                if failure is None:
                    written.names.append(pods[number].metadata.name)
                    written.version = max(written.version, outcome.resource_version)
                elif _taken(failure) and names_left[number] and not last:
                    names_left[number] -= 1
                    pods[number].metadata.name, doubted[number] = maker.name(), False
                    again.append(number)
                elif _in_doubt(failure) and not last:
                    # It was made or not; the same name again tells.
                    doubted[number] = pause = True
                    again.append(number)
                elif failure.metadata.get("cause") == NAMESPACE_TERMINATING:
                    open_ended = False
                else:
                    written.failure = written.failure or failure
                    metrics.FAILURES.labels("create").inc()
            left = again
            if not left:
                break
            if pause:
                await self._clock.sleep(backoff.next())
        return open_ended

    async def _whose(self, pod: Pod, wanted: Wanted) -> Outcome:
        """Who has the name of a pod that we may have made? Ours: as if the create had answered."""
        metadata = pod.metadata
        try:
            found = await self._pods.get(metadata.name, tenant=metadata.tenant, namespace=metadata.namespace)
        except StatusError as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                return Outcome(failure, metadata.name, "", 0)
            # Made and gone again, or another's and gone: not there now.
            return Outcome(_taken_by_another(metadata.name), metadata.name, "", 0)
        live = found.metadata
        if any(one.controller and one.uid == wanted.uid for one in live.owner_references):
            return Outcome(None, live.name, live.uid, live.resource_version)
        return Outcome(_taken_by_another(live.name), live.name, "", 0)

    async def delete(self, pods: Sequence[TenantPod]) -> Written:
        """Each with its own grace period. One that is gone already is no failure."""
        backoff = Backoff(self._rand, initial_s=0.2, maximum_s=5.0)
        written = Written()
        left = [_deletion(pod) for pod in pods]
        for last in _tries():
            doubtful: list[DeleteRequest] = []
            for request, outcome in zip(left, await self._deletes.submit(left), strict=True):
                failure = outcome.status
                if failure is None:
                    written.names.append(request.name)
                if failure is None and outcome.resource_version:
                    written.version = max(written.version, outcome.resource_version)
                elif failure is None or failure.code is grpc.StatusCode.NOT_FOUND:
                    written.removed.append(request.preconditions.uid)
                elif _in_doubt(failure) and not last:
                    # Deleted or not; the same pods again, and no others instead of them.
                    doubtful.append(request)
                else:
                    written.failure = written.failure or failure
                    metrics.FAILURES.labels("delete").inc()
            left = doubtful
            if not left:
                break
            await self._clock.sleep(backoff.next())
        metrics.DELETED.inc(len(written.names))
        return written

    async def write_status(self, status: ReplicaSet) -> StatusError | None:
        """``status``: the place, the UID and the status; why it was not written."""
        [outcome] = await self._statuses.submit([status])
        return outcome.status


def _tries() -> Iterator[bool]:
    """Whether it is the last one."""
    return (number == TRIES_MAX for number in range(1, TRIES_MAX + 1))


def _in_doubt(failure: StatusError) -> bool:
    """Nobody can say whether it was done. (A server with too much to do says that it was not.)"""
    return is_retryable(failure) and failure.code is not grpc.StatusCode.RESOURCE_EXHAUSTED


def _taken(failure: StatusError | None) -> bool:
    return failure is not None and failure.code is grpc.StatusCode.ALREADY_EXISTS


def _deletion(pod: TenantPod) -> DeleteRequest:
    preconditions = Preconditions(uid=pod.uid)
    return DeleteRequest(tenant=pod.tenant, namespace=pod.namespace, name=pod.name, preconditions=preconditions)


def _taken_by_another(name: str) -> StatusError:
    return StatusError(grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists", f'pods "{name}" already exists')
