"""A batch of pods, a frozen snapshot and a profile in; a node or the reason why there is none, for each pod, out.

The plan equals placing the pods one by one in plan order: by priority, and within a priority class by class in the
order of each class' first pod, so that pods of one template share one pass over the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from services.scheduler.core.grouped import GroupRanking, open_domains
from services.scheduler.core.nodes import NodeColumns, NodeId
from services.scheduler.core.pods import PodClass, PodInfo
from services.scheduler.core.profile import DEFAULT_PROFILE, Profile, Profiles
from services.scheduler.core.ranking import ClassView, Ranking, view
from services.scheduler.core.reasons import explain
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Placement:
    """``pod`` goes to ``node``; ``node_uid`` says which one of that name was meant."""

    pod: PodInfo
    node: NodeId
    node_uid: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node takes ``pod``: ``message`` says why, ``refused_by`` are the names of the filters that refused a node."""

    pod: PodInfo
    message: str
    refused_by: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``placements`` in the order in which they were decided."""

    placements: list[Placement] = field(default_factory=list)
    unschedulable: list[Unschedulable] = field(default_factory=list)


class ViewCache:
    """What Node objects say about each class, kept from plan to plan while no Node changes. Never changes a plan."""

    def __init__(self) -> None:
        self._views: WeakKeyDictionary[PodClass, ClassView] = WeakKeyDictionary()
        self._of: NodeColumns | None = None

    def get(self, pods: PodClass, nodes: NodeColumns, profile: Profile) -> ClassView:
        if self._of is not nodes:
            self._views.clear()
            self._of = nodes
        known = self._views.get(pods)
        if known is None:
            known = self._views[pods] = view(pods, nodes, profile)
        return known


def plan(
    snapshot: Snapshot,
    pods: Iterable[PodInfo],
    profile: Profile | Profiles = DEFAULT_PROFILE,
    cache: ViewCache | None = None,
) -> Plan:
    """Decide about every pod; deterministic, and the snapshot is left as it was."""
    views = cache if cache is not None else ViewCache()
    usage = snapshot.usage.copy()
    result = Plan()
    for alike in in_plan_order(pods):
        _place_class(alike, snapshot.nodes, usage, profile.of(alike[0].kind), views, result)
    return result


def in_plan_order(pods: Iterable[PodInfo]) -> Iterator[list[PodInfo]]:
    """Pods of one priority and class together: highest priority first, then the class whose first pod comes first."""
    groups: dict[tuple[int, PodClass], list[PodInfo]] = {}
    for pod in pods:
        groups.setdefault((-pod.priority, pod.kind), []).append(pod)
    # A stable sort: within a priority the order of first arrival stays.
    for key in sorted(groups, key=lambda group: group[0]):
        yield groups[key]


def _place_class(
    alike: Sequence[PodInfo], nodes: NodeColumns, usage: Usage, profile: Profile, views: ViewCache, result: Plan
) -> None:
    kind = alike[0].kind
    class_view = views.get(kind, nodes, profile)
    done = 0
    while done < len(alike):
        waiting = alike[done:]
        domains = open_domains(kind, nodes, usage, profile)
        ranking: Ranking | GroupRanking
        if domains is None:
            ranking = Ranking(class_view, nodes, usage, profile, len(waiting))
        else:
            ranking = GroupRanking(class_view, nodes, usage, profile, len(waiting), domains)
        if not ranking:
            message, refused_by = explain(kind, nodes, usage, profile)
            result.unschedulable.extend(Unschedulable(pod, message, refused_by) for pod in waiting)
            return
        rows = ranking.place((pod.tenant for pod in waiting), usage.spread)
        usage.add(kind, rows)
        result.placements.extend(
            Placement(pod, nodes.ids[row], nodes.uids[row]) for pod, row in zip(waiting, rows, strict=False)
        )
        done += len(rows)
