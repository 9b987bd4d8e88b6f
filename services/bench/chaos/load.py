"""The steady load of one tenant partition: long-running replicas, batch pods that end by themselves, and an owner that
makes again what was evicted and tidies up what has ended. Everything it does is on record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.api.kinds import REPLICA_SETS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant
from services.base.clock import Clock
from services.base.rand import Rand
from services.bench.chaos import workloads
from services.bench.chaos.board import Board
from services.bench.chaos.facts import Attempted, Created, Deleted, PodSeen, Workload
from services.bench.chaos.parameters import ChaosParameters
from services.bench.chaos.reading import WORKLOAD_LABEL
from services.bench.chaos.recorder import Recorder
from services.client.clientset import Clientset, Outcome
from services.rpc.status import StatusError

_PERIOD_S = 0.25
_RETRY_S = 0.5
# What was created is in the watch by then, or counts as missing again.
_SEEN_WITHIN_S = 10.0
_BATCH = 100


@dataclass
class Counts:
    """What was done, for the report."""

    created: int = 0
    unknown: int = 0
    deleted: int = 0


class Load:
    """``replica_sets``: whether the cluster has a controller for them; else the player keeps every workload."""

    def __init__(
        self,
        partition: str,
        client: Clientset,
        board: Board,
        recorder: Recorder,
        parameters: ChaosParameters,
        clock: Clock,
        rand: Rand,
        *,
        replica_sets: bool,
    ) -> None:
        self.partition = partition
        self.tenant = f"chaos-{partition}"
        self.counts = Counts()
        # Replicas by workload.
        self.wanted: dict[str, int] = {}
        self._kept: set[str] = set()
        self._client = client
        self._board = board
        self._recorder = recorder
        self._parameters = parameters
        self._clock = clock
        self._rand = rand
        self._replica_sets = replica_sets
        self._number = 0
        # Creates of workloads that the watch has not shown yet: UID -> (workload, when).
        self._unseen: dict[str, tuple[str, float]] = {}
        self._deleting: set[str] = set()

    async def begin(self) -> None:
        """Make the tenant and every workload. Raises ``StatusError``."""
        tenant = Tenant()
        tenant.metadata.name = self.tenant
        await self._client.tenants.create(tenant)
        for number in range(self._parameters.workloads):
            name = f"web-{number:02d}"
            if self._replica_sets and number % 2 == 0:
                await self._make_replica_set(name)
            else:
                self._kept.add(name)
                self._want(name, "player")

    async def run(self, stopping: asyncio.Event) -> None:
        """Batch pods until ``stopping``; everything else until cancelled."""
        due = 0.0
        while True:
            began = self._clock.monotonic()
            if not stopping.is_set():
                due += self._parameters.rate * _PERIOD_S / self._parameters.tenant_partitions
                jobs = [self._job() for _ in range(int(due))]
                due -= len(jobs)
                await self._create(jobs)
            await self._keep()
            await self._tidy()
            await self._clock.sleep(max(0.0, began + _PERIOD_S - self._clock.monotonic()))

    @property
    def jobs_left(self) -> int:
        return sum(1 for pod in self._board.pods.values() if not pod.workload)

    async def _make_replica_set(self, name: str) -> None:
        asked = workloads.replica_set(self.tenant, name, self._parameters.replicas, self._parameters.toleration_s)
        began = self._clock.monotonic()
        made = await self._client.resource(REPLICA_SETS).create(asked)
        at = self._clock.monotonic()
        self._recorder.add(Created(began, at, self.partition, REPLICA_SETS.resource, name, made.metadata.uid))
        self._want(name, "replicaset")

    def _want(self, name: str, keeper: str) -> None:
        self.wanted[name] = self._parameters.replicas
        now = self._clock.monotonic()
        self._recorder.add(Workload(now, self.partition, name, self._parameters.replicas, keeper))

    def _job(self) -> Pod:
        self._number += 1
        run_s = self._rand.uniform(0.5, self._parameters.batch_seconds)
        name = f"job-{self._number:06d}"
        return workloads.batch_job(self.tenant, name, run_s, self._parameters.toleration_s)

    async def _keep(self) -> None:
        """Make what is missing of the kept workloads, and take away what is too much (answers may have been lost)."""
        now, live = self._clock.monotonic(), self._board.live()
        self._unseen = {
            uid: (workload, at)
            for uid, (workload, at) in self._unseen.items()
            if uid not in self._board.pods and now - at < _SEEN_WITHIN_S
        }
        unseen: dict[str, int] = defaultdict(int)
        for workload, _ in self._unseen.values():
            unseen[workload] += 1
        missing, surplus = [], []
        for name in sorted(self._kept):
            have = live.get(name, [])
            lack = self.wanted[name] - len(have) - unseen[name]
            missing += [self._replica(name) for _ in range(lack)]
            if lack < 0 and not unseen[name]:
                surplus += sorted(have, key=lambda pod: (pod.ready, pod.uid))[:-lack]
        await self._create(missing)
        await self._delete(surplus)

    def _replica(self, workload: str) -> Pod:
        self._number += 1
        name = f"{workload}-{self._number:06d}"
        return workloads.replica(self.tenant, workload, name, self._parameters.toleration_s)

    async def _tidy(self) -> None:
        await self._delete(self._board.terminal())

    async def _create(self, pods: Sequence[Pod]) -> None:
        for first in range(0, len(pods), _BATCH):
            await self._create_batch(pods[first : first + _BATCH])

    async def _create_batch(self, pods: Sequence[Pod]) -> None:
        began = self._clock.monotonic()
        try:
            outcomes: Sequence[Outcome | None] = await self._client.pods.batch_create(
                pods, timeout_s=self._parameters.slack_s
            )
            error: StatusError | None = None
        except StatusError as failure:
            outcomes, error = [None] * len(pods), failure
        at = self._clock.monotonic()
        for pod, outcome in zip(pods, outcomes, strict=True):
            status = outcome.status if outcome is not None else error
            name, workload = pod.metadata.name, pod.metadata.labels.get(WORKLOAD_LABEL, "")
            if outcome is None or status is not None:
                self.counts.unknown += 1
                text = f"{status.code.name}: {status.message}" if status is not None else ""
                self._recorder.add(Attempted(began, at, self.partition, "create", name, error=text))
                continue
            self.counts.created += 1
            self._recorder.add(Created(began, at, self.partition, "pods", name, outcome.uid, workload))
            if workload:
                self._unseen[outcome.uid] = (workload, at)
        if error is not None:
            await self._clock.sleep(_RETRY_S)

    async def _delete(self, pods: Sequence[PodSeen]) -> None:
        self._deleting &= self._board.pods.keys()
        chosen = [pod for pod in pods if pod.uid not in self._deleting][:_BATCH]
        if not chosen:
            return
        # The uid guards against a namesake; on record before it can have happened.
        requests = [
            DeleteRequest(tenant=self.tenant, namespace=workloads.NAMESPACE, name=pod.key.rpartition("/")[2])
            for pod in chosen
        ]
        for request, pod in zip(requests, chosen, strict=True):
            request.preconditions.uid = pod.uid
        began = self._clock.monotonic()
        try:
            outcomes: Sequence[Outcome | None] = await self._client.pods.batch_delete(
                requests, timeout_s=self._parameters.slack_s
            )
        except StatusError:
            outcomes = [None] * len(chosen)
        at = self._clock.monotonic()
        for pod, outcome in zip(chosen, outcomes, strict=True):
            name = pod.key.rpartition("/")[2]
            if outcome is not None and outcome.status is None:
                self.counts.deleted += 1
                self._deleting.add(pod.uid)
                self._recorder.add(Deleted(began, at, self.partition, name, pod.uid))
            else:
                self._recorder.add(Attempted(began, at, self.partition, "delete", name, pod.uid))
        if any(outcome is None for outcome in outcomes):
            await self._clock.sleep(_RETRY_S)
