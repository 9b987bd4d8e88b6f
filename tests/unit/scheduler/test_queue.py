"""The queue: order, backoff, what wakes whom, gates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.scheduler.core import PodClasses, PodInfo
from services.scheduler.core.plugin import Cluster, PodChange
from services.scheduler.queue import Place, SchedulingQueue
from services.scheduler.waiting import WAVE_FIRST
from tests.support.scheduling import make_pod

FILTERS = ("NodeResourcesFit", "NodeAffinity")
HELPED_BY = {
    "NodeResourcesFit": Cluster.NODE_ADDED | Cluster.ALLOCATABLE_GREW | Cluster.POD_GONE,
    "NodeAffinity": Cluster.NODE_ADDED | Cluster.LABELS_CHANGED,
}
CLASSES = PodClasses()


def info(name: str, **shape: object) -> PodInfo:
    return CLASSES.info(make_pod(name, **shape))  # type: ignore[arg-type]


@pytest.fixture
def queue() -> SchedulingQueue:
    return SchedulingQueue(HELPED_BY, backoff_initial_s=1.0, backoff_max_s=10.0, unschedulable_retry_s=60.0)


def names(queue: SchedulingQueue, limit: int = 99) -> list[str]:
    return [entry.pod.name for entry in queue.take(limit)]


def fail(queue: SchedulingQueue, pod: PodInfo, now: float, refused_by: str = "NodeResourcesFit") -> None:
    queue.take(99)
    queue.put_aside(pod.uid, frozenset([refused_by]), now)


def test_priority_first_then_first_come_first_served(queue: SchedulingQueue) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.put(info(name, priority=priority), 0.0)
    assert names(queue, 3) == ["b", "d", "a"]
    assert names(queue) == ["c"]
    assert not queue.has_active and queue.size(Place.TAKEN) == 4


def test_a_change_that_cannot_help_wakes_nobody(queue: SchedulingQueue) -> None:
    pod = info("a")
    queue.put(pod, 0.0)
    fail(queue, pod, 0.0)
    queue.happened(Cluster.LABELS_CHANGED | Cluster.TAINTS_CHANGED, 30.0)
    assert not queue.has_active
    queue.happened(Cluster.POD_GONE, 30.0)
    assert names(queue) == ["a"]


def test_only_those_whom_it_can_help_are_woken(queue: SchedulingQueue) -> None:
    full, unmatched = info("full"), info("unmatched")
    queue.put(full, 0.0)
    fail(queue, full, 0.0)
    queue.put(unmatched, 0.0)
    fail(queue, unmatched, 0.0, refused_by="NodeAffinity")
    queue.happened(Cluster.LABELS_CHANGED, 30.0)
    assert names(queue) == ["unmatched"]


def test_a_woken_pod_waits_until_its_backoff_is_over(queue: SchedulingQueue) -> None:
    pod = info("a")
    queue.put(pod, 0.0)
    fail(queue, pod, 10.0)
    queue.happened(Cluster.POD_GONE, 10.2)
    assert not queue.has_active and queue.size(Place.BACKOFF) == 1
    queue.tick(10.9)
    assert not queue.has_active
    queue.tick(11.0)
    assert names(queue) == ["a"]


def test_backoff_doubles_up_to_its_maximum(queue: SchedulingQueue) -> None:
    pod = info("a")
    queue.put(pod, 0.0)
    now, pauses = 0.0, []
    for _ in range(6):
        assert names(queue) == ["a"]
        queue.back_off(pod.uid, now)
        started = now
        while not queue.has_active:
            now += 0.5
            queue.tick(now)
        pauses.append(now - started)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_pod_that_nothing_helps_is_tried_again_after_a_while(queue: SchedulingQueue) -> None:
    pod = info("a")
    queue.put(pod, 0.0)
    fail(queue, pod, 5.0)
    queue.tick(64.9)
    assert not queue.has_active
    queue.tick(65.0)
    assert names(queue) == ["a"]


def test_without_any_node_a_new_one_helps(queue: SchedulingQueue) -> None:
    pod = info("a")
    queue.put(pod, 0.0)
    queue.take(1)
    queue.put_aside(pod.uid, frozenset(), 0.0)
    queue.happened(Cluster.POD_GONE, 30.0)
    assert not queue.has_active
    queue.happened(Cluster.NODE_ADDED, 30.0)
    assert queue.has_active


def test_a_change_of_the_pod_itself_is_a_reason_to_try_again_and_it_keeps_its_place(queue: SchedulingQueue) -> None:
    first, second = info("first", cpu="64"), info("second")
    queue.put(first, 0.0)
    fail(queue, first, 0.0)
    queue.put(second, 0.0)
    queue.put(info("first", cpu="64"), 30.0)
    assert names(queue, 1) == ["second"]
    queue.put(info("third"), 30.0)
    queue.put(info("first", cpu="1"), 30.0)
    assert names(queue) == ["first", "third"]


def test_gated_pods_are_apart_until_their_gates_are_gone(queue: SchedulingQueue) -> None:
    queue.put(info("a", gates=["g"]), 0.0, gated=True)
    queue.happened(Cluster.NODE_ADDED, 50.0)
    queue.tick(1000.0)
    assert queue.size(Place.GATED) == 1 and not queue.has_active
    queue.put(info("a"), 1000.0)
    assert names(queue) == ["a"]


def test_a_pod_that_is_gone_is_not_handed_out_and_late_news_of_it_are_ignored(queue: SchedulingQueue) -> None:
    gone, taken = info("gone"), info("taken")
    queue.put(gone, 0.0)
    queue.discard(gone.uid)
    assert names(queue) == []
    queue.put(taken, 0.0)
    assert names(queue) == ["taken"]
    queue.discard(taken.uid)
    queue.put_aside(taken.uid, frozenset(), 1.0)
    queue.back_off(taken.uid, 1.0)
    assert all(queue.size(place) == 0 for place in Place)


def test_a_change_while_a_pod_is_being_bound_does_not_hand_it_out_twice(queue: SchedulingQueue) -> None:
    queue.put(info("a"), 0.0)
    assert names(queue) == ["a"]
    queue.put(info("a", cpu="1"), 1.0)
    queue.put(info("a", gates=["g"]), 1.0, gated=True)
    assert names(queue) == [] and queue.size(Place.TAKEN) == 1


def storm(queue: SchedulingQueue, pods: int, now: float) -> list[PodInfo]:
    """That many pods of one class, all tried and refused."""
    waiting = [info(f"w{number}", cpu="3") for number in range(pods)]
    for pod in waiting:
        queue.put(pod, now)
    for entry in queue.take(pods):
        queue.put_aside(entry.pod.uid, frozenset(["NodeResourcesFit"]), now)
    queue.planned(now)
    return waiting


def judge(queue: SchedulingQueue, room: int, now: float) -> tuple[list[str], int]:
    """Plan once, with room for so many: who was placed, and how many were tried."""
    taken = queue.take(100_000)
    for entry in taken[room:]:
        queue.put_aside(entry.pod.uid, frozenset(["NodeResourcesFit"]), now)
    queue.planned(now)
    return [entry.pod.name for entry in taken[:room]], len(taken)


def test_of_ten_thousand_alike_a_change_wakes_only_the_first_few(queue: SchedulingQueue) -> None:
    storm(queue, 10_000, 0.0)
    queue.happened(Cluster.POD_GONE, 30.0)
    placed, tried = judge(queue, 1, 30.0)
    assert placed == ["w0"] and tried == WAVE_FIRST
    assert not queue.has_active, "one of them was refused: so would all the others be"
    # The next change: again the first by arrival, once their backoff is over.
    queue.happened(Cluster.POD_GONE, 90.0)
    assert judge(queue, 2, 90.0)[0] == ["w1", "w2"]


def test_room_for_all_lets_all_out_in_waves_that_double(queue: SchedulingQueue) -> None:
    storm(queue, 1000, 0.0)
    queue.happened(Cluster.NODE_ADDED, 30.0)
    sizes = []
    while queue.has_active:
        sizes.append(judge(queue, 100_000, 30.0)[1])
    assert sizes == [64, 128, 256, 512, 40]


def test_changes_in_the_middle_of_a_wave_wake_nobody_twice_and_lose_nobody(queue: SchedulingQueue) -> None:
    storm(queue, 300, 0.0)
    queue.happened(Cluster.POD_GONE, 30.0)
    queue.happened(Cluster.POD_GONE, 30.0)
    assert queue.size(Place.ACTIVE) == WAVE_FIRST
    for entry in queue.take(10):
        queue.discard(entry.pod.uid)
    # The awake are deleted before they are tried: the next change finds the others.
    for number in range(10, WAVE_FIRST):
        queue.discard(f"uid-acme-default-w{number}")
    queue.happened(Cluster.POD_GONE, 31.0)
    assert judge(queue, 1, 31.0)[0] == [f"w{WAVE_FIRST}"]


@pytest.mark.parametrize("tried", [0, 3])
def test_a_wave_that_is_deleted_before_it_is_tried_hands_its_news_on(queue: SchedulingQueue, tried: int) -> None:
    storm(queue, 200, 0.0)
    queue.happened(Cluster.POD_GONE, 30.0)
    if tried:
        for entry in queue.take(tried):
            queue.discard(entry.pod.uid)
        queue.planned(30.0)
    for number in range(tried, WAVE_FIRST):
        queue.discard(f"uid-acme-default-w{number}")
    assert not queue.has_active
    queue.tick(30.2)
    assert judge(queue, 1, 30.2)[0] == [f"w{WAVE_FIRST}"]
    queue.tick(30.4)
    assert not queue.has_active, "one of them was refused"


def test_a_hint_decides_which_other_pod_helps_whom(queue: SchedulingQueue) -> None:
    friend, other = info("friend", labels={"app": "db"}), info("other")
    hinted = SchedulingQueue(HELPED_BY, hint=lambda pods, refused_by, change: change.kind is friend.kind)
    pod = info("web")
    hinted.put(pod, 0.0)
    fail(hinted, pod, 0.0, refused_by="NodeAffinity")
    hinted.happened(Cluster.NOTHING, 30.0, [PodChange(other.kind, Cluster.POD_ADDED)])
    assert not hinted.has_active
    hinted.happened(Cluster.NOTHING, 30.0, [PodChange(friend.kind, Cluster.POD_ADDED)])
    assert names(hinted) == ["web"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("1", "2", "3"))), min_size=1, max_size=200), st.data())
@settings(max_examples=40, deadline=None)
def test_no_pod_starves_while_there_is_room_for_its_class(pods: list[tuple[int, str]], data: st.DataObject) -> None:
    """Whatever is placed whenever: every change that can help brings one more pod of each waiting class to a node."""
    queue = SchedulingQueue(HELPED_BY, backoff_initial_s=1.0, backoff_max_s=10.0, unschedulable_retry_s=60.0)
    for number, (priority, cpu) in enumerate(pods):
        queue.put(info(f"p{number}", priority=priority, cpu=cpu), 0.0)
    now, left = 0.0, len(pods)
    for _ in range(len(pods) + 1):
        taken = queue.take(100_000)
        seen: set[int] = set()
        for entry in taken:
            # One node of room for each class.
            if id(entry.pod.kind) in seen:
                queue.put_aside(entry.pod.uid, frozenset(["NodeResourcesFit"]), now)
            else:
                seen.add(id(entry.pod.kind))
                queue.discard(entry.pod.uid)
                left -= 1
        queue.planned(now)
        # Longer than any backoff, shorter than the time after which anything is tried without a reason.
        now += data.draw(st.sampled_from((11.0, 20.0)))
        queue.happened(Cluster.POD_GONE, now)
    assert left == 0


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, a pod is in one place, and none is lost."""

    uids = st.sampled_from([f"p{n}" for n in range(6)])

    def __init__(self) -> None:
        super().__init__()
        self.queue = SchedulingQueue(HELPED_BY, unschedulable_retry_s=60.0)
        self.now = 0.0
        self.gated: dict[str, bool] = {}
        self.taken: set[str] = set()

    @rule(name=uids, cpu=st.sampled_from(("1", "2")), priority=st.integers(0, 2), gated=st.booleans())
    def put(self, name: str, cpu: str, priority: int, gated: bool) -> None:
        self.queue.put(info(name, cpu=cpu, priority=priority), self.now, gated=gated)
        if name not in self.taken:
            self.gated[name] = gated

    @rule(name=uids)
    def discard(self, name: str) -> None:
        self.queue.discard(f"uid-acme-default-{name}")
        self.gated.pop(name, None)
        self.taken.discard(name)

    @rule(limit=st.integers(1, 4))
    def take(self, limit: int) -> None:
        had_active = self.queue.has_active
        entries = self.queue.take(limit)
        assert bool(entries) == had_active
        order = [(-entry.pod.priority, entry.pod.sequence) for entry in entries]
        assert order == sorted(order)
        self.taken |= {entry.pod.name for entry in entries}

    @rule(refused_by=st.frozensets(st.sampled_from(FILTERS)), retry=st.booleans())
    def outcome(self, refused_by: frozenset[str], retry: bool) -> None:
        if self.taken:
            uid = f"uid-acme-default-{self.taken.pop()}"
            if retry:
                self.queue.back_off(uid, self.now)
            else:
                self.queue.put_aside(uid, refused_by, self.now)

    @rule(change=st.sampled_from(list(Cluster)))
    def happened(self, change: Cluster) -> None:
        self.queue.happened(change, self.now)

    @rule(seconds=st.sampled_from((0.1, 1.0, 15.0)))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.queue.tick(self.now)

    @invariant()
    def every_pod_is_in_one_place(self) -> None:
        assert sum(self.queue.size(place) for place in Place) == len(self.gated)
        assert self.queue.size(Place.TAKEN) == len(self.taken)

    def teardown(self) -> None:
        # Given time, and room for whoever is tried, everything that is neither gated nor being bound comes out.
        out: set[str] = set()
        for _ in range(len(self.gated) + 3):
            self.now += 100.0
            self.queue.tick(self.now)
            for entry in self.queue.take(99):
                out.add(entry.pod.name)
                self.queue.discard(entry.pod.uid)
            self.queue.planned(self.now)
        assert out == {name for name, gated in self.gated.items() if not gated and name not in self.taken}


QueueMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
