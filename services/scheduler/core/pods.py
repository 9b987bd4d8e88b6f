"""What the plan needs to know of a pod: its scheduling class (shared) and its identity (its own)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.telemetry import TRACEPARENT_ANNOTATION
from services.placement import pods as facts
from services.scheduler.core.ports import HostPort
from services.scheduler.core.terms import AffinityTerms, affinity_terms

PODS = "pods"
# Amounts beyond this (8 PiB of memory) count as this much, so that sums and percentages stay within int64.
AMOUNT_MAX = 2**53
RECENT_MAX = 2_048
# What the key of a class of ending pods has more than that of the same pods before.
ENDING = b"-"
# And of pods without a grace period.
PROMPT = b"!"


@dataclass(frozen=True, eq=False)
class PodClass:
    """Pods that every filter and score treats alike share one of these; ``pod`` is the spec of any one of them.

    ``requests`` are canonical int64 units and hold ``pods: 1``; ``scoring_requests`` are cpu (milli) and memory (bytes)
    with kube-scheduler's defaults for containers that ask for nothing (pkg/scheduler/util/pod_resources.go). ``ending``
    pods have a deletion timestamp, ``prompt`` ones no grace period: deleted, they are gone. ``derived`` is for what a
    plug-in has worked out from the class, by plug-in.
    """

    key: bytes
    pod: Pod
    requests: Mapping[str, int]
    scoring_requests: tuple[int, int]
    host_ports: frozenset[HostPort]
    tenant: str
    namespace: str
    labels: Mapping[str, str]
    ending: bool = False
    prompt: bool = False
    derived: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def terms(self) -> AffinityTerms:
        """The inter-pod affinity terms."""
        return affinity_terms(self.pod.spec, self.tenant, self.namespace, self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """One pod as the scheduler remembers it.

    ``sequence`` is the order of arrival in this scheduler. ``started`` is status.startTime, seconds since the epoch; 0:
    it has not.
    """

    uid: str
    tenant: str
    namespace: str
    name: str
    priority: int
    kind: PodClass
    sequence: int = 0
    traceparent: str = ""
    started: int = 0

    def __str__(self) -> str:
        return f"{self.tenant}/{self.namespace}/{self.name}"


@dataclass
class PodClasses:
    """Interns scheduling classes: equal keys give the same ``PodClass``; one that no pod holds any more is dropped."""

    _classes: WeakValueDictionary[bytes, PodClass] = field(default_factory=WeakValueDictionary)
    # Pods of one template have byte-equal specs: comparing those is several times cheaper than classifying anew.
    _recent: OrderedDict[Hashable, PodClass] = field(default_factory=OrderedDict)
    _sequence: int = 0

    def info(self, pod: Pod) -> PodInfo:
        """The facts of ``pod``; every call takes the next sequence number."""
        self._sequence += 1
        metadata = pod.metadata
        return PodInfo(
            uid=metadata.uid,
            tenant=metadata.tenant,
            namespace=metadata.namespace,
            name=metadata.name,
            priority=facts.priority(pod),
            kind=self.classify(pod),
            sequence=self._sequence,
            traceparent=metadata.annotations.get(TRACEPARENT_ANNOTATION, ""),
            started=pod.status.start_time.seconds,
        )

    def current(self, known: PodInfo, pod: Pod) -> PodInfo:
        """``known`` itself; the same pod anew if its labels have changed, it has started, or it has begun to end."""
        kind = known.kind
        started = pod.status.start_time.seconds
        if pod.metadata.HasField("deletion_timestamp") == kind.ending and pod.metadata.labels == kind.labels:
            return known if known.started == started else replace(known, started=started)
        return replace(known, kind=self.classify(pod), started=started)

    def classify(self, pod: Pod) -> PodClass:
        """The scheduling class of ``pod``."""
        likeness = _likeness(pod)
        known = self._recent.get(likeness)
        if known is None:
            known = self._recent[likeness] = self._interned(pod)
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
        return known

    def _interned(self, pod: Pod) -> PodClass:
        key = facts.scheduling_class(pod)
        if pod.metadata.HasField("deletion_timestamp"):
            key += ENDING
        if _is_prompt(pod):
            key += PROMPT
        known = self._classes.get(key)
        if known is None:
            known = self._classes[key] = _pod_class(key, pod)
        return known


def _likeness(pod: Pod) -> Hashable:
    """Equal only for pods of one class: everything that the class is made from, and more."""
    metadata = pod.metadata
    labels = frozenset(metadata.labels.items())
    ending = metadata.HasField("deletion_timestamp")
    return (
        metadata.tenant,
        metadata.namespace,
        labels,
        ending,
        pod.status.nominated_node_name,
        pod.spec.SerializeToString(),
    )


def _pod_class(key: bytes, pod: Pod) -> PodClass:
    scoring = facts.non_zero_requests(pod)
    template = Pod()
    template.spec.CopyFrom(pod.spec)
    return PodClass(
        key=key,
        pod=template,
        requests=MappingProxyType({**clamped(facts.requests(pod)), PODS: 1}),
        scoring_requests=(min(scoring.get("cpu", 0), AMOUNT_MAX), min(scoring.get("memory", 0), AMOUNT_MAX)),
        host_ports=facts.host_ports(pod),
        tenant=pod.metadata.tenant,
        namespace=pod.metadata.namespace,
        labels=MappingProxyType(dict(pod.metadata.labels)),
        ending=pod.metadata.HasField("deletion_timestamp"),
        prompt=_is_prompt(pod),
    )


def _is_prompt(pod: Pod) -> bool:
    spec = pod.spec
    return spec.HasField("termination_grace_period_seconds") and spec.termination_grace_period_seconds == 0


def clamped(amounts: Mapping[str, int]) -> dict[str, int]:
    """The positive amounts, each at most ``AMOUNT_MAX``."""
    return {resource: min(amount, AMOUNT_MAX) for resource, amount in amounts.items() if amount > 0}
