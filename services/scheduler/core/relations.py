"""How the pods that are placed concern a class: the question that a domain plug-in puts to the census.

A relation gives every *other* class a whole number per slot; on each node, a slot's value is the sum of these numbers
over the pods there. One slot is, for example, "pods that the first spread constraint counts", or "the preferences for
and against this host": whatever a plug-in wants added up separately.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from services.scheduler.core.selectors import Selector
from services.scheduler.core.terms import Namespaces, Term

if TYPE_CHECKING:
    from services.scheduler.core.pods import PodClass

# (what is counted, topology key or "")
Slot: TypeAlias = tuple[str, str]
# Where to look for classes that may concern one: ("has", tenant, label, value) — classes with that label;
# ("all", tenant, "", "") — every class; ("seeks", tenant, label, value) — classes with an affinity term that only pods
# with that label match; ("seeks", tenant, "", "") — with a term that names no label value.
Source: TypeAlias = tuple[str, str, str, str]


class Relation(ABC):
    """What one class wants to know of all others. Compared by identity: keep one per class."""

    # Every class with a number other than 0 is found in one of these.
    sources: tuple[Source, ...]

    @abstractmethod
    def numbers(self, other: PodClass, namespaces: Namespaces) -> Mapping[Slot, int]:
        """The numbers of a pod of ``other``; slots with 0 are left out."""


def sources_of(selector: Selector | None, tenant: str) -> tuple[Source, ...]:
    """Where every class is found that ``selector`` matches."""
    if selector is None:
        return ()
    pairs = selector.pairs()
    if pairs is None:
        return (("all", tenant, "", ""),)
    return tuple(("has", tenant, key, value) for key, value in pairs)


def sources_of_seekers(pods: PodClass) -> tuple[Source, ...]:
    """Where every class is found that has an affinity term that a pod of ``pods`` matches."""
    with_label = (("seeks", pods.tenant, key, value) for key, value in sorted(pods.labels.items()))
    return (*with_label, ("seeks", pods.tenant, "", ""))


def places_of(pods: PodClass) -> set[Source]:
    """Every source in which the class is to be found."""
    places: set[Source] = {("all", pods.tenant, "", "")}
    places.update(("has", pods.tenant, key, value) for key, value in pods.labels.items())
    for term in pods.terms.all:
        places.update(_places_of_seeker(term))
    return places


def _places_of_seeker(term: Term) -> Iterable[Source]:
    if term.selector is None:
        return ()
    pairs = term.selector.pairs()
    if pairs is None:
        return (("seeks", term.tenant, "", ""),)
    return (("seeks", term.tenant, key, value) for key, value in pairs)
