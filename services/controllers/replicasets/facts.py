"""What the controller knows of a replica set, and which replica sets a pod may belong to. No I/O."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from services.api.pb.ursa.apps.v1.replica_set_pb2 import PodTemplateSpec, ReplicaSet, ReplicaSetStatus
from services.api.selectors import IN, LabelSelector
from services.client.informer import Accessors, Change
from services.controllers.tenantpods import TenantPod

K = TypeVar("K")
V = TypeVar("V")

Place = tuple[str, str]
"""(tenant, namespace)"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A replica set. ``ending``: it has a deletion timestamp."""

    uid: str
    name: str
    tenant: str
    namespace: str
    version: int
    generation: int
    ending: bool
    replicas: int
    min_ready_s: int
    selector: LabelSelector
    template: PodTemplateSpec
    status: ReplicaSetStatus

    @property
    def place(self) -> Place:
        return self.tenant, self.namespace

    def selects(self, pod: TenantPod) -> bool:
        return self.selector.matches(dict(pod.labels))


def read_replica_set(data: bytes) -> Wanted:
    """From a ReplicaSet's bytes."""
    message = ReplicaSet.FromString(data)
    metadata, spec = message.metadata, message.spec
    return Wanted(
        sys.intern(metadata.uid),
        metadata.name,
        sys.intern(metadata.tenant),
        sys.intern(metadata.namespace),
        metadata.resource_version,
        metadata.generation,
        metadata.HasField("deletion_timestamp"),
        spec.replicas,
        spec.min_ready_seconds,
        LabelSelector.from_message(spec.selector),
        spec.template,
        message.status,
    )


ACCESSORS: Accessors[Wanted] = Accessors(lambda one: one.uid, lambda one: one.uid, lambda one: one.version)


@dataclass(slots=True)
class _Namespace:
    """The replica sets of a namespace by a label that their pods must have, and its pods that belong to nobody."""

    by_label: dict[tuple[str, str], dict[str, Wanted]] = field(default_factory=dict)
    by_other: dict[str, Wanted] = field(default_factory=dict)
    orphans: dict[str, TenantPod] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.by_label or self.by_other or self.orphans)


class Belongings:
    """Pods by their controller, and those without one by what may adopt them.

    ``candidates(uid)``: active pods without a controller that the replica set selects; kept up to date pod by pod, so
    that a namespace may hold any number of pods that are nobody's business.
    """

    def __init__(self) -> None:
        self._owned: dict[str, dict[str, TenantPod]] = {}
        self._namespaces: dict[Place, _Namespace] = {}
        self._candidates: dict[str, dict[str, TenantPod]] = {}

    def owned(self, uid: str) -> Iterable[TenantPod]:
        """All pods whose controller is ``uid``."""
        return self._owned.get(uid, {}).values()

    def candidates(self, uid: str) -> list[TenantPod]:
        return [*self._candidates.get(uid, {}).values()]

    def see_pod(self, change: Change[TenantPod]) -> set[str]:
        """The UIDs whose replica sets this concerns."""
        concerned: set[str] = set()
        if change.old is not None:
            concerned |= self._forget(change.old)
        if change.new is not None:
            concerned |= self._remember(change.new)
        return concerned

    def see_set(self, old: Wanted | None, new: Wanted | None) -> None:
        """A replica set is new, has changed or is gone."""
        if old is not None and new is not None and old.selector == new.selector:
            self._shelf(new)[new.uid] = new
            return
        if old is not None:
            self._unshelve(old)
        if new is None:
            return
        self._shelf(new)[new.uid] = new
        for pod in self._namespaces[new.place].orphans.values():
            if new.selects(pod):
                self._candidates.setdefault(new.uid, {})[pod.uid] = pod

    def _remember(self, pod: TenantPod) -> set[str]:
        if pod.owner:
            self._owned.setdefault(pod.owner, {})[pod.uid] = pod
            return {pod.owner}
        if not pod.active:
            return set()
        namespace = self._namespaces.setdefault((pod.tenant, pod.namespace), _Namespace())
        namespace.orphans[pod.uid] = pod
        concerned = {one.uid for one in _that_may_select(namespace, pod) if one.selects(pod)}
        for uid in concerned:
            self._candidates.setdefault(uid, {})[pod.uid] = pod
        return concerned

    def _forget(self, pod: TenantPod) -> set[str]:
        if pod.owner:
            _discard(self._owned, pod.owner, pod.uid)
            return {pod.owner}
        place = pod.tenant, pod.namespace
        namespace = self._namespaces.get(place)
        if namespace is None or namespace.orphans.pop(pod.uid, None) is None:
            return set()
        for one in _that_may_select(namespace, pod):
            _discard(self._candidates, one.uid, pod.uid)
        if namespace.empty:
            del self._namespaces[place]
        # Whoever might have adopted it need not look at it for that.
        return set()

    def _shelf(self, one: Wanted) -> dict[str, Wanted]:
        namespace = self._namespaces.setdefault(one.place, _Namespace())
        label = _required(one.selector)
        return namespace.by_other if label is None else namespace.by_label.setdefault(label, {})

    def _unshelve(self, one: Wanted) -> None:
        self._candidates.pop(one.uid, None)
        namespace, label = self._namespaces[one.place], _required(one.selector)
        if label is None:
            namespace.by_other.pop(one.uid, None)
        else:
            _discard(namespace.by_label, label, one.uid)
        if namespace.empty:
            del self._namespaces[one.place]


def _required(selector: LabelSelector) -> tuple[str, str] | None:
    """A label that everything selected has; None: the selector names none."""
    for requirement in selector.requirements:
        if requirement.operator == IN and len(requirement.values) == 1:
            return requirement.key, requirement.values[0]
    return None


def _that_may_select(namespace: _Namespace, pod: TenantPod) -> Iterator[Wanted]:
    yield from namespace.by_other.values()
    if namespace.by_label:
        for label in pod.labels:
            yield from namespace.by_label.get(label, {}).values()


def _discard(held: dict[K, dict[str, V]], key: K, uid: str) -> None:
    inner = held.get(key)
    if inner is not None:
        inner.pop(uid, None)
        if not inner:
            del held[key]
