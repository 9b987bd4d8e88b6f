"""A class' inter-pod affinity terms, compiled (kubernetes pkg/scheduler/framework AffinityTerm)."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.api.pb.ursa.core.v1.pod_pb2 import PodAffinityTerm, PodSpec
from services.scheduler.core.hashed import Hashed
from services.scheduler.core.selectors import Labels, Selector, compiled, shared

# Labels by (tenant, namespace). A namespace that is not listed has none.
Namespaces: TypeAlias = Mapping[tuple[str, str], Labels]


class Role(enum.Enum):
    """What a term is to the pod that carries it."""

    REQUIRED = enum.auto()
    ANTI = enum.auto()  # required anti-affinity
    PREFERRED = enum.auto()  # of either kind: the weight says which


@dataclass(frozen=True, eq=True)
class Term(Hashed):
    """Pods of ``tenant`` that ``selector`` matches (``None``: none), in some namespaces, seen through ``topology_key``.

    The namespaces are those listed and those that ``namespace_selector`` matches (``None``: none). ``weight`` is that
    of a preferred term, below 0 for anti-affinity.
    """

    tenant: str
    namespaces: frozenset[str]
    namespace_selector: Selector | None
    selector: Selector | None
    topology_key: str
    weight: int = 0
    __hash__ = Hashed.__hash__

    def matches(self, tenant: str, namespace: str, labels: Labels, namespaces: Namespaces) -> bool:
        """A pod with these labels is meant."""
        if self.selector is None or tenant != self.tenant or not self.selector.matches(labels):
            return False
        if namespace in self.namespaces:
            return True
        return self.namespace_selector is not None and self.namespace_selector.matches(
            namespaces.get((tenant, namespace), {})
        )


@dataclass(frozen=True, slots=True)
class AffinityTerms:
    """``preferred`` are the terms of affinity and of anti-affinity together."""

    required: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.required or self.anti or self.preferred)

    def of(self, role: Role) -> tuple[Term, ...]:
        if role is Role.REQUIRED:
            return self.required
        return self.anti if role is Role.ANTI else self.preferred

    def by_role(self) -> Iterator[tuple[Role, Term]]:
        """Every term, with what it is."""
        for role in Role:
            for term in self.of(role):
                yield role, term


NO_TERMS = AffinityTerms()


def affinity_terms(spec: PodSpec, tenant: str, namespace: str, labels: Labels) -> AffinityTerms:
    """The terms of a pod with these labels in that namespace."""
    if not spec.HasField("affinity"):
        return NO_TERMS

    def term(message: PodAffinityTerm, weight: int = 0) -> Term:
        return _term(message, tenant, namespace, labels, weight)

    affinity, anti = spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity
    return AffinityTerms(
        required=tuple(term(message) for message in affinity.required_during_scheduling_ignored_during_execution),
        anti=tuple(term(message) for message in anti.required_during_scheduling_ignored_during_execution),
        preferred=(
            *(
                term(weighted.pod_affinity_term, weighted.weight)
                for weighted in affinity.preferred_during_scheduling_ignored_during_execution
            ),
            *(
                term(weighted.pod_affinity_term, -weighted.weight)
                for weighted in anti.preferred_during_scheduling_ignored_during_execution
            ),
        ),
    )


def _term(message: PodAffinityTerm, tenant: str, namespace: str, labels: Labels, weight: int) -> Term:
    everywhere = message.HasField("namespace_selector")
    named = frozenset(message.namespaces)
    selector = None
    if message.HasField("label_selector"):
        # KEP-3633: the API server does the same when a pod is created; doing it twice changes nothing.
        selector = compiled(message.label_selector).narrowed(
            [*shared(message.match_label_keys, labels, "In"), *shared(message.mismatch_label_keys, labels, "NotIn")]
        )
    return Term(
        tenant=tenant,
        namespaces=named if named or everywhere else frozenset((namespace,)),
        namespace_selector=compiled(message.namespace_selector) if everywhere else None,
        selector=selector,
        topology_key=message.topology_key,
        weight=weight,
    )
