"""The best node for a preemptor, found in two steps: vectors over all nodes, then the few most promising in full.

Removing every less important pod of each node is one vector operation; what does not fit then is out. The others are
put in the order of what the criteria of kube-scheduler (``victims.Order``) would say at best: would a budget be
violated, which priority must the highest victim have, how many victims will it take. The first of them are worked out
exactly, and kept in a heap while pods of the class are served: a choice changes its own node only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import numpy as np

from services.scheduler.core.arrays import Bools, Ints
from services.scheduler.core.budgets import Budgets
from services.scheduler.core.feasibility import refusals
from services.scheduler.core.plan import in_plan_order
from services.scheduler.core.plugins.default_preemption import DefaultPreemption
from services.scheduler.core.pods import PODS, PodInfo
from services.scheduler.core.preemption import NotPreempted, Placed, Pledge, Preemptions, Round
from services.scheduler.core.profile import Profile, Profiles
from services.scheduler.core.reasons import message
from services.scheduler.core.rooms import CountedRoom, FilteredRoom, Wants, other_usage_filters
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.core.usage import Usage
from services.scheduler.core.victims import Candidate, Order, choose

NEVER = "Never"
NOT_ELIGIBLE = "preemption: not eligible due to preemptionPolicy=Never."
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
AWAITS = "preemption: pods that are ending make room on node {}."
PORTS = "node(s) didn't have free ports for the requested pod ports"

# A node that needs no victims (more) is better than every other.
FREE = Order(0, -(2**31), 0, 0, 0, 0)

# Priorities told apart by the vector step; more are thinned out (the exact step sees all of them).
LEVELS_MAX = 6
# Nodes worked out in full for a class whose filters look at other nodes: each takes milliseconds.
FILTERED_CANDIDATES = 8
# After so many nodes one candidate is enough; the others are looked at while there is none, a few at a time.
FILTERED_NODES = 128
FILTERED_CHUNK = 16


def preempt(
    snapshot: Snapshot,
    usage: Usage,
    pods: Iterable[PodInfo],
    placed: Placed,
    profile: Profile | Profiles,
    budgets: Budgets | None = None,
    pledges: Iterable[Pledge] = (),
    exempt: Iterable[str] = (),
) -> Preemptions:
    """Decide about ``pods``, which no node takes: highest priority first, then class by class.

    Pods whose profile has no preemption are in neither list of the result.
    ``usage``: the snapshot's, with what the plan has placed since. ``pledges``: earlier preemptions that wait for their
    victims. ``exempt``: UIDs of counted pods that cannot be victims, as they are not bound yet.
    """
    result = Preemptions()
    whole = Round(snapshot.nodes, usage, placed, budgets or Budgets(), pledges, exempt)
    for alike in in_plan_order(pods):
        kind = alike[0].kind
        rules = profile.of(kind).preemption
        if rules is None:
            continue
        if kind.pod.spec.preemption_policy == NEVER:
            result.refused.extend(NotPreempted(pod, NOT_ELIGIBLE) for pod in alike)
            continue
        _serve(alike, Search(whole, alike[0], profile.of(kind), rules), whole, result)
    return result


def _serve(alike: Sequence[PodInfo], search: Search, whole: Round, result: Preemptions) -> None:
    for index, pod in enumerate(alike):
        found = search.best()
        if found is None:
            text, hindered = search.explain(), search.hindered()
            result.refused.extend(NotPreempted(left, text, hindered) for left in alike[index:])
            return
        if found.victims:
            result.chosen.append(whole.carry_out(pod, found))
        else:
            whole.await_room(pod, found.row)
            result.refused.append(NotPreempted(pod, AWAITS.format(whole.nodes.ids[found.row])))
        search.changed(found.row)


class Search:
    """Candidates for pods of one class and priority, best first."""

    def __init__(self, whole: Round, pod: PodInfo, profile: Profile, rules: DefaultPreemption) -> None:
        self._round = whole
        self._pods = pod.kind
        self._below = pod.priority
        self._profile = profile
        self._wants = Wants(pod.kind, whole.nodes, profile)
        self._filtered = bool(other_usage_filters(profile)) or any(
            known.topology_keys(pod.kind, whole.usage) for known in profile.domain_filters
        )
        self._reasons: Counter[str] = Counter()
        # (order, choices made before it was worked out, candidate)
        self._heap: list[tuple[Order, int, Candidate]] = []
        # A candidate worked out before the last choice may have changed (budgets, other nodes).
        self._choices = 0
        self._usable: Bools = whole.nodes.alive.copy()
        self._order = self._in_order(self._promising())
        self._next = 0
        for row in whole.emptying:
            self._work_out_free(row)
        self._wanted = FILTERED_CANDIDATES if self._filtered else rules.candidates(len(self._order))
        self._limit = FILTERED_NODES if self._filtered else len(self._order)

    def best(self) -> Candidate | None:
        """The best candidate as things are now; it is taken from the search."""
        while True:
            self._fill()
            if not self._heap:
                return None
            _, choices, found = heappop(self._heap)
            if choices == self._choices or not (self._filtered or self._round.budgets):
                return found
            self._work_out(found.row)

    def changed(self, row: int) -> None:
        """The last candidate was chosen: what is left of its ``row`` may do for another pod."""
        self._choices += 1
        self._work_out(row)

    def explain(self) -> str:
        """Why there is no candidate (any more)."""
        return f"preemption: {message(self._round.nodes.count, self._reasons)}"

    def hindered(self) -> bool:
        """It would be otherwise if every pod could be a victim that is less important."""
        rows = np.flatnonzero(self._round.nodes.alive)
        now, all_of_them = self._round.sums(self._below), self._round.placed.evictable(self._below)
        return bool((self._fits(rows, all_of_them) & ~self._fits(rows, now)).any())

    def _fill(self) -> None:
        """Work out more nodes while too few are known, or while all that are known violate a budget."""
        while self._next < len(self._order):
            if self._next >= self._limit:
                if self._heap:
                    return
                if self._limit == FILTERED_NODES:
                    self._rule_out()
                self._limit += FILTERED_CHUNK
                continue
            enough = len(self._heap) >= self._wanted
            if enough and not self._heap[0][0].violations:
                return
            self._work_out(self._order[self._next])
            self._next += 1

    def _rule_out(self) -> None:
        """Strike those of the remaining rows that the filters keep closed whichever of a row's pods leave."""
        whole, pods = self._round, self._pods
        left = whole.without_possible(self._below)
        for known in self._profile.domain_filters:
            keys = known.topology_keys(pods, whole.usage)
            if not keys:
                continue
            rows = np.asarray(self._order[self._next :], dtype=np.int64)
            kept: Bools = np.ones(len(rows), dtype=np.bool_)
            closed = known.closed(pods, whole.nodes, whole.usage, left, whole.nodes.topology(keys))
            for reason, at in closed.items():
                kept &= ~at[rows]
                self._reasons += Counter({reason: int(np.count_nonzero(at[rows]))})
            self._order[self._next :] = rows[kept].tolist()

    def _work_out_free(self, row: int) -> bool:
        """Nobody has to go from ``row`` who is not going already."""
        whole = self._round
        if not self._room(row, ()).fits() or not self._usable[row]:
            return False
        free = Candidate(FREE._replace(rank=int(whole.nodes.tie_rank[row])), row, ())
        heappush(self._heap, (free.order, self._choices, free))
        return True

    def _room(self, row: int, without: Sequence[PodInfo]) -> CountedRoom | FilteredRoom:
        whole = self._round
        counted = CountedRoom(self._wants, whole.nodes, whole.usage, row, without)
        if not self._filtered:
            return counted
        return FilteredRoom(self._pods, whole.nodes, whole.usage, self._profile, row, counted, without)

    def _work_out(self, row: int) -> None:
        whole = self._round
        if row in whole.emptying and self._work_out_free(row):
            return
        possible = whole.possible(row, self._below)
        room = self._room(row, possible)
        found = choose(row, int(whole.nodes.tie_rank[row]), possible, room, whole.budgets)
        if found is not None:
            heappush(self._heap, (found.order, self._choices, found))
        elif not possible:
            self._reasons[NO_VICTIMS] += 1
        elif isinstance(room, FilteredRoom) and room.reasons:
            self._reasons += room.reasons
        else:
            self._reasons += self._short(row)

    def _short(self, row: int) -> Counter[str]:
        """What is missing on ``row`` although every victim is gone."""
        found = self._missing(np.asarray([row]), self._round.sums(self._below))
        return found or Counter({PORTS: 1})

    # The vector step

    def _promising(self) -> Ints:
        """Rows that some pod's leaving may open, and that have room once all less important pods are gone."""
        nodes = self._round.nodes
        open_to: Bools = np.zeros(len(nodes), dtype=np.bool_)
        for refused in refusals(self._pods, nodes, self._round.usage, self._profile):
            open_to[refused.rows[~refused.hopeless]] = True
            self._usable[refused.rows[refused.hopeless]] = False
        for amount, index in zip(self._wants.amounts, self._wants.indexes, strict=True):
            # More than the node has at all.
            open_to &= (nodes.allocatable[index] >= amount) if index >= 0 else False
        rows = np.flatnonzero(open_to)
        self._reasons = +Counter({NOT_HELPFUL: nodes.count - len(rows)})
        sums = self._round.sums(self._below)
        has_victims = sums[nodes.resources[PODS]][rows] > 0
        self._reasons += Counter({NO_VICTIMS: int(np.count_nonzero(~has_victims))})
        rows = rows[has_victims]
        fits = self._fits(rows, sums)
        self._reasons += self._missing(rows[~fits], sums)
        promising: Ints = rows[fits]
        return promising

    def _in_order(self, rows: Ints) -> list[int]:
        """The most promising first."""
        if not len(rows):
            return []
        level, sums = self._levels(rows)
        keys = (self._round.nodes.tie_rank[rows], self._victims_at_least(rows, sums), level, self._violates(rows))
        order: list[int] = rows[np.lexsort(keys)].tolist()
        return order

    def _levels(self, rows: Ints) -> tuple[Ints, Ints]:
        """For each row which priority its highest victim must have (a rank), and the sums of the pods up to that."""
        found = self._round.placed.priorities(self._below)
        limits = [*found[1:], self._below]
        if len(limits) > LEVELS_MAX:
            limits = [limits[index] for index in np.linspace(0, len(limits) - 1, LEVELS_MAX).astype(int)]
        level = np.full(len(rows), len(limits) - 1)
        sums = self._round.sums(self._below)[:, rows]
        for rank in range(len(limits) - 2, -1, -1):
            of_rank = self._round.sums(limits[rank])
            fits = self._fits(rows, of_rank)
            level[fits] = rank
            sums[:, fits] = of_rank[:, rows[fits]]
        return level, sums

    def _victims_at_least(self, rows: Ints, sums: Ints) -> Ints:
        """A guess at the number of victims, from their mean size; ``sums`` has shape (resources, len(rows))."""
        nodes, usage = self._round.nodes, self._round.usage
        victims = np.maximum(sums[nodes.resources[PODS]], 1)
        guess: Ints = np.ones(len(rows), dtype=np.int64)
        for amount, index in zip(self._wants.amounts, self._wants.indexes, strict=True):
            missing = np.maximum(amount - (nodes.allocatable[index] - usage.requested[index])[rows], 0)
            mean = np.maximum(sums[index] // victims, 1)
            np.maximum(guess, -(-missing // mean), out=guess)
        return guess

    def _violates(self, rows: Ints) -> Ints:
        """1 where it takes pods whose budget is used up."""
        whole = self._round
        if not whole.budgets:
            return np.zeros(len(rows), dtype=np.int64)
        sums = whole.sums(self._below).copy()
        for kind, pods_of_row in whole.usage.census.rows():
            if kind.pod.spec.priority < self._below and whole.budgets.exhausted(kind):
                at = np.fromiter(pods_of_row, dtype=np.int64, count=len(pods_of_row))
                pods = np.fromiter(pods_of_row.values(), dtype=np.int64, count=len(pods_of_row))
                for resource, amount in kind.requests.items():
                    sums[whole.nodes.resources[resource], at] -= pods * amount
        return (~self._fits(rows, sums)).astype(np.int64)

    def _fits(self, rows: Ints, sums: Ints) -> Bools:
        """Rows with room when what ``sums`` (resources, all rows) says has gone."""
        nodes, usage = self._round.nodes, self._round.usage
        fits: Bools = np.ones(len(rows), dtype=np.bool_)
        for amount, index in zip(self._wants.amounts, self._wants.indexes, strict=True):
            if index < 0:
                return np.zeros(len(rows), dtype=np.bool_)
            fits &= (nodes.allocatable[index] - usage.requested[index] + sums[index])[rows] >= amount
        return fits

    def _missing(self, rows: Ints, sums: Ints) -> Counter[str]:
        nodes, usage = self._round.nodes, self._round.usage
        reasons: Counter[str] = Counter()
        for resource, amount, index in zip(
            self._wants.resources, self._wants.amounts, self._wants.indexes, strict=True
        ):
            if index < 0:
                short = len(rows)
            else:
                free = (nodes.allocatable[index] - usage.requested[index] + sums[index])[rows]
                short = int(np.count_nonzero(free < amount))
            if short:
                reasons["Too many pods" if resource == PODS else f"Insufficient {resource}"] = short
        return reasons
