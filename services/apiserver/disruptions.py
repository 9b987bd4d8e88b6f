"""What the disruption controller sees and does of this partition: the server side of its port.

Pods and workloads are read of those namespaces only that have a budget: a partition without budgets does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.api import keys, wire
from services.api.disruption import BudgetChange, Change, Place, PlaceLeft, PodChange, PodState, ScaleChange
from services.api.kinds import POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, Kind
from services.api.pb.ursa.apps.v1.replica_set_pb2 import ReplicaSet
from services.api.pb.ursa.meta.v1.meta_pb2 import OwnerReference
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget, PodDisruptionBudgetStatus
from services.api.selectors import EVERYTHING
from services.apiserver import limits
from services.apiserver.content import statuses
from services.apiserver.servicer import ApiServer
from services.storage import errors as storage
from services.storage.interface import EventType, Record, Watcher, WatchQuery

TERMINAL = ("Succeeded", "Failed")
BUDGETS = POD_DISRUPTION_BUDGETS


class PartitionDisruptions:
    """The port over the stores of ``api``."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Callable[[], Awaitable[Sequence[Change]]]]:
        with statuses(None):
            following = _Following(self._api)
            try:
                await following.open()
                yield following.next
            finally:
                following.close()

    async def write_status(self, key: str, budget: PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> None:
        def transition(record: Record) -> bytes | None:
            now = PodDisruptionBudget.FromString(record.value)
            same = now.metadata.uid == budget.metadata.uid and now.spec == budget.spec
            if not same or now.status != budget.status:
                # Something newer is on its way here.
                return record.value
            now.status.CopyFrom(status)
            return wire.canonical(now)

        with statuses(BUDGETS):
            try:
                await self._api.writes[BUDGETS.resource].change_object(key, transition)
            except storage.KeyNotFound:
                pass


class _Following:
    """The watch of all budgets, and one of the pods and of the replica sets of each namespace that has some."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._awake = asyncio.Event()
        self._budgets: Watcher | None = None
        self._keys: dict[Place, set[str]] = {}
        self._pods: dict[Place, Watcher] = {}
        self._sets: dict[Place, Watcher] = {}
        # Kept when ``next`` is cancelled half-way: nothing that was taken from a watcher is lost.
        self._found: list[Change] = []

    async def open(self) -> None:
        self._budgets = await self._watch(BUDGETS, keys.prefix(BUDGETS))

    async def next(self) -> Sequence[Change]:
        """Wait for changes. Raises storage's errors."""
        assert self._budgets is not None
        while True:
            self._awake.clear()
            async for record, gone in _drained(self._budgets):
                self._found.append(self._budget(record, gone))
            await self._follow_places()
            for place, watcher in self._pods.items():
                async for record, gone in _drained(watcher):
                    self._found.append(PodChange(record.key, place, None if gone else _pod(record)))
            # After the pods: a workload is older than its pods, so it is most likely there with them.
            for place, watcher in self._sets.items():
                async for record, gone in _drained(watcher):
                    found_set = ReplicaSet.FromString(record.value)
                    replicas = None if gone else found_set.spec.replicas
                    self._found.append(ScaleChange(found_set.metadata.uid, place, replicas))
            if self._found:
                found, self._found = self._found, []
                return found
            await self._awake.wait()

    def close(self) -> None:
        for watcher in (self._budgets, *self._pods.values(), *self._sets.values()):
            _close(watcher)

    def _budget(self, record: Record, gone: bool) -> BudgetChange:
        _, tenant, namespace, _ = keys.parse(record.key)
        place = (tenant, namespace)
        known = self._keys.setdefault(place, set())
        (known.discard if gone else known.add)(record.key)
        return BudgetChange(record.key, place, None if gone else PodDisruptionBudget.FromString(record.value))

    async def _follow_places(self) -> None:
        for place in [place for place, held in self._keys.items() if not held]:
            del self._keys[place]
            self._found.append(PlaceLeft(place))
            _close(self._pods.pop(place, None))
            _close(self._sets.pop(place, None))
        for place in self._keys.keys() - self._pods.keys():
            self._pods[place] = await self._watch(PODS, keys.prefix(PODS, *place))
        for place in self._keys.keys() - self._sets.keys():
            self._sets[place] = await self._watch(REPLICA_SETS, keys.prefix(REPLICA_SETS, *place))

    async def _watch(self, kind: Kind, prefix: str) -> Watcher:
        watcher = await self._api.resources[kind.resource].store.watch(WatchQuery(prefix, EVERYTHING))
        watcher.set_wake(self._awake.set)
        return watcher


def _close(watcher: Watcher | None) -> None:
    if watcher is not None:
        watcher.set_wake(None)
        watcher.close()


async def _drained(watcher: Watcher) -> AsyncIterator[tuple[Record, bool]]:
    """Each record with whether it is gone; other work gets its turns between batches, not within one."""
    while (batch := watcher.take(limits.BULK_BYTES_TARGET)) is not None:
        for event in batch.events:
            yield event.record, event.type is EventType.DELETED
        await asyncio.sleep(0)


def _pod(record: Record) -> PodState:
    pod: Any = PODS.message.FromString(record.value)
    return PodState(
        name=pod.metadata.name,
        labels=dict(pod.metadata.labels),
        ready=any(known.type == "Ready" and known.status == "True" for known in pod.status.conditions),
        ending=pod.metadata.HasField("deletion_timestamp"),
        finished=pod.status.phase in TERMINAL,
        workload=next((one.uid for one in pod.metadata.owner_references if one.controller and _is_scaled(one)), ""),
    )


def _is_scaled(owner: OwnerReference) -> bool:
    """Of a kind that says how many pods there are to be."""
    return owner.kind == REPLICA_SETS.name and owner.api_version == REPLICA_SETS.api_version
