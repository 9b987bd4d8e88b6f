"""Finding classes, and the affinity terms that they carry, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.scheduler.core.pods import PodClass
from services.scheduler.core.relations import Source, matches, places_of, seekers_of, sources_of
from services.scheduler.core.terms import Namespaces, Role, Term


class ClassIndex:
    """Classes by the sources in which they are found, each with the number of its arrival; and the terms they carry."""

    def __init__(self) -> None:
        self.arrivals = 0
        self._found: dict[Source, dict[PodClass, int]] = {}
        # How many classes carry each term, by where the pods are found that it can match.
        self._carried: dict[Source, dict[tuple[Role, Term], int]] = {}

    def add(self, kind: PodClass) -> None:
        self.arrivals += 1
        for place in places_of(kind):
            self._found.setdefault(place, {})[kind] = self.arrivals
        for place, carried in _carried(kind):
            terms = self._carried.setdefault(place, {})
            terms[carried] = terms.get(carried, 0) + 1

    def discard(self, kind: PodClass) -> None:
        for place in places_of(kind):
            found = self._found[place]
            del found[kind]
            if not found:
                del self._found[place]
        for place, carried in _carried(kind):
            terms = self._carried[place]
            terms[carried] -= 1
            if not terms[carried]:
                del terms[carried]
            if not terms:
                del self._carried[place]

    def since(self, sources: Iterable[Source], arrivals: int) -> Iterator[PodClass]:
        """Classes of ``sources`` that came after the first ``arrivals``; one may come twice."""
        for source in sources:
            found = self._found.get(source)
            if not found:
                continue
            for kind, arrival in reversed(found.items()):
                if arrival <= arrivals:
                    break
                yield kind

    def sought(self, pods: PodClass, namespaces: Namespaces) -> set[tuple[Role, Term]]:
        """The carried terms that a pod of ``pods`` matches."""
        if not self._carried:
            return set()
        return {
            carried
            for source in seekers_of(pods)
            for carried in self._carried.get(source, ())
            if matches(carried[1], pods, namespaces)
        }

    def copy(self) -> ClassIndex:
        twin = ClassIndex()
        twin.arrivals = self.arrivals
        twin._found = {source: found.copy() for source, found in self._found.items()}
        twin._carried = {source: terms.copy() for source, terms in self._carried.items()}
        return twin


def _carried(kind: PodClass) -> Iterator[tuple[Source, tuple[Role, Term]]]:
    for role, term in kind.terms.by_role():
        for source in sources_of(term.selector, term.tenant):
            yield source, (role, term)
