"""Label selectors, compiled once and asked often (rule: kubernetes apimachinery pkg/labels)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.api.pb.ursa.meta.v1.meta_pb2 import LabelSelector
from services.scheduler.core.hashed import Hashed

Pair = tuple[str, str]
Labels = Mapping[str, str]


@dataclass(frozen=True, eq=True)
class Requirement(Hashed):
    """One label: ``operator`` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()
    __hash__ = Hashed.__hash__

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None


@dataclass(frozen=True, eq=True)
class Selector(Hashed):
    """All of ``requirements``; with none of them every set of labels matches."""

    requirements: tuple[Requirement, ...]
    __hash__ = Hashed.__hash__

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def pairs(self) -> tuple[Pair, ...] | None:
        """(key, value) pairs of which everything that matches has at least one; ``None`` if there are no such pairs."""
        lists = [requirement for requirement in self.requirements if requirement.operator == "In"]
        if not lists:
            return None
        shortest = min(lists, key=lambda requirement: len(requirement.values))
        return tuple((shortest.key, value) for value in sorted(shortest.values))

    def narrowed(self, more: Iterable[Requirement]) -> Selector:
        """This selector and ``more``."""
        return Selector(self.requirements + tuple(r for r in more if r not in self.requirements))


def compiled(selector: LabelSelector) -> Selector:
    """The selector of a message that is set; an unset one matches nothing, which is the caller's to tell apart."""
    exact = [Requirement(key, "In", frozenset((value,))) for key, value in sorted(selector.match_labels.items())]
    listed = [
        Requirement(expression.key, expression.operator, frozenset(expression.values))
        for expression in selector.match_expressions
    ]
    return Selector((*exact, *listed))


def shared(keys: Iterable[str], labels: Labels, operator: str) -> list[Requirement]:
    """matchLabelKeys ("In") and mismatchLabelKeys ("NotIn"): the pod's own values; keys that it lacks say nothing."""
    return [Requirement(key, operator, frozenset((labels[key],))) for key in keys if key in labels]
