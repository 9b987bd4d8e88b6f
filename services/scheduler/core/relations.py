"""What can be asked of the pods that are placed: how many of them a term matches, a constraint counts, or carry a term.

Relations are values: equal ones of different classes share one sum (``census``), so that thousands of classes that
differ in other things cost no more than one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from services.scheduler.core.hashed import Hashed
from services.scheduler.core.selectors import Selector
from services.scheduler.core.terms import Namespaces, Role, Term

if TYPE_CHECKING:
    from services.scheduler.core.pods import PodClass

# Where to look for classes: ("has", tenant, label, value) — those with that label; ("all", tenant) — every one of the
# tenant; ("carries", role, term) — those that carry that term.
Source: TypeAlias = tuple[Hashable, ...]


class Relation(ABC, Hashed):
    """A whole number for each class; its sum over the pods of a row is what is asked for."""

    @property
    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Every class with a number other than 0 is found in one of these."""

    @abstractmethod
    def number(self, other: PodClass, namespaces: Namespaces) -> int:
        """The number of a pod of ``other``."""


@dataclass(frozen=True, eq=True)
class Matching(Relation):
    """Pods that every one of ``terms`` (at least one) matches."""

    terms: tuple[Term, ...]
    __hash__ = Hashed.__hash__

    @property
    def sources(self) -> tuple[Source, ...]:
        return sources_of(self.terms[0].selector, self.terms[0].tenant)

    def number(self, other: PodClass, namespaces: Namespaces) -> int:
        return int(all(matches(term, other, namespaces) for term in self.terms))


@dataclass(frozen=True, eq=True)
class Carrying(Relation):
    """Pods that carry ``term``, as often as they do."""

    role: Role
    term: Term
    __hash__ = Hashed.__hash__

    @property
    def sources(self) -> tuple[Source, ...]:
        return (("carries", self.role, self.term),)

    def number(self, other: PodClass, namespaces: Namespaces) -> int:
        return other.terms.of(self.role).count(self.term)


@dataclass(frozen=True, eq=True)
class Counted(Relation):
    """Pods of one namespace that ``selector`` matches and that do not end: whom a spread constraint counts."""

    tenant: str
    namespace: str
    selector: Selector
    __hash__ = Hashed.__hash__

    @property
    def sources(self) -> tuple[Source, ...]:
        return sources_of(self.selector, self.tenant)

    def number(self, other: PodClass, namespaces: Namespaces) -> int:
        if other.ending or other.namespace != self.namespace or other.tenant != self.tenant:
            return 0
        return int(self.selector.matches(other.labels))


def matches(term: Term, pods: PodClass, namespaces: Namespaces) -> bool:
    """``term`` means pods of that class."""
    return term.matches(pods.tenant, pods.namespace, pods.labels, namespaces)


def sources_of(selector: Selector | None, tenant: str) -> tuple[Source, ...]:
    """Where every class is found that ``selector`` matches."""
    if selector is None:
        return ()
    pairs = selector.pairs()
    if pairs is None:
        return (("all", tenant),)
    return tuple(("has", tenant, key, value) for key, value in pairs)


def places_of(pods: PodClass) -> set[Source]:
    """Every source in which the class is to be found."""
    places: set[Source] = {("all", pods.tenant)}
    places.update(("has", pods.tenant, key, value) for key, value in pods.labels.items())
    places.update(("carries", role, term) for role, term in pods.terms.by_role())
    return places


def seekers_of(pods: PodClass) -> Iterable[Source]:
    """Where every term is found (as ``sources_of`` its selector) that can match a pod of the class."""
    yield ("all", pods.tenant)
    for key, value in pods.labels.items():
        yield ("has", pods.tenant, key, value)
