"""What pods are told: conditions (only when something changes) and events (counted, limited, in batches)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.api.pb.ursa.core.v1.event_pb2 import Event
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.rpc import status
from services.rpc.status import StatusError
from services.scheduler.conditions import ConditionWriter, with_condition
from services.scheduler.core import PodClasses, PodInfo
from services.scheduler.decision import Refusal
from services.scheduler.events import EventRecorder
from services.scheduler.seen import PodReader
from tests.support.client_world import until
from tests.support.scheduling import make_pod

CLASSES = PodClasses()
READER = PodReader({"default-scheduler"}, CLASSES, lambda uid: None)


def refusal(pod: Pod, message: str = "0/1 nodes are available.") -> Refusal:
    return Refusal(READER.read(pod), "Unschedulable", message)


class Statuses:
    def __init__(self, *failures: StatusError) -> None:
        self.failures = list(failures)
        self.written: list[Pod] = []

    async def batch_update_status(self, objs: Iterable[Pod]) -> Sequence[Outcome]:
        if self.failures:
            raise self.failures.pop(0)
        self.written += objs
        return [Outcome(None, pod.metadata.name, pod.metadata.uid, 1) for pod in self.written]


def test_the_condition_replaces_the_old_one_and_leaves_the_rest_of_the_status() -> None:
    pod = make_pod("web")
    pod.metadata.resource_version = 7
    pod.status.conditions.add(type="Initialized", status="True")
    pod.status.conditions.add(
        type="PodScheduled", status="False", reason="SchedulingGated"
    ).last_transition_time.seconds = 3
    update = with_condition(pod, refusal(pod), now=100.0)
    assert [(c.type, c.status, c.reason) for c in update.status.conditions] == [
        ("Initialized", "True", ""),
        ("PodScheduled", "False", "Unschedulable"),
    ]
    # It was False before: this is no transition.
    assert update.status.conditions[1].last_transition_time.seconds == 3
    assert (update.metadata.uid, update.metadata.resource_version) == (pod.metadata.uid, 7)
    assert update.status.phase == "Pending" and not update.spec.containers


async def test_only_conditions_that_say_something_new_are_written() -> None:
    clock, api = FakeClock(), Statuses()
    writer = ConditionWriter(api, clock=clock, rand=Rand(1))
    told, news = make_pod("told"), make_pod("news")
    told.status.CopyFrom(with_condition(told, refusal(told), 1.0).status)
    async with Supervisor() as tasks:
        tasks.start(writer.run(), name="writer")
        writer.tell([refusal(told), refusal(news)])
        await until(clock, lambda: bool(api.written))
    assert [pod.metadata.name for pod in api.written] == ["news"]


async def test_while_the_partition_is_away_only_the_newest_condition_is_kept() -> None:
    clock, api = FakeClock(), Statuses(*[status.unavailable("down")] * 3)
    writer = ConditionWriter(api, clock=clock, rand=Rand(1))
    pod = make_pod("web")
    async with Supervisor() as tasks:
        tasks.start(writer.run(), name="writer")
        writer.tell([refusal(pod, "first")])
        await clock.advance(0.1)
        writer.tell([refusal(pod, "second")])
        await until(clock, lambda: bool(api.written))
        await clock.advance(5)
    assert [pod.status.conditions[0].message for pod in api.written] == ["second"]


class Events:
    def __init__(self) -> None:
        self.created: list[Event] = []
        self.updated: list[Event] = []
        self.batches = 0
        self.failure: StatusError | None = None

    async def batch_create(self, objs: Iterable[Event]) -> Sequence[Outcome]:
        return self._take(objs, self.created)

    async def batch_update(self, objs: Iterable[Event]) -> Sequence[Outcome]:
        return self._take(objs, self.updated)

    def _take(self, objs: Iterable[Event], into: list[Event]) -> Sequence[Outcome]:
        self.batches += 1
        outcomes = []
        for event in objs:
            copy = Event()
            copy.CopyFrom(event)
            into.append(copy)
            outcomes.append(Outcome(self.failure, event.metadata.name, "uid", 1))
        return outcomes


def recorder(api: Events, clock: FakeClock, per_second: float = 100.0) -> EventRecorder:
    return EventRecorder(api, per_second=per_second, clock=clock, rand=Rand(1))


def record(events: EventRecorder, pod: PodInfo, message: str = "no room") -> None:
    events.record(
        pod, kind="Warning", reason="FailedScheduling", message=message, action="Scheduling", component="mine"
    )


async def test_equal_events_are_counted_in_one() -> None:
    clock, api, pod = FakeClock(), Events(), CLASSES.info(make_pod("web"))
    events = recorder(api, clock)
    async with Supervisor() as tasks:
        tasks.start(events.run(), name="events")
        record(events, pod)
        await clock.advance(1)
        record(events, pod)
        await clock.advance(1)
        record(events, pod, "another reason")
        await clock.advance(1)
    assert [(event.message, event.count) for event in api.created] == [("no room", 1), ("another reason", 1)]
    assert [(event.message, event.count) for event in api.updated] == [("no room", 2)]
    first, second = api.created[0], api.updated[0]
    assert first.metadata.name == second.metadata.name
    assert second.last_timestamp.seconds == first.first_timestamp.seconds + 1
    assert (first.involved_object.uid, first.involved_object.tenant) == (pod.uid, "acme")
    assert (first.source.component, first.reporting_component) == ("mine", "mine")


async def test_many_events_go_in_few_batches() -> None:
    clock, api = FakeClock(), Events()
    events = recorder(api, clock, per_second=1000.0)
    for number in range(300):
        record(events, CLASSES.info(make_pod(f"p{number}")))
    async with Supervisor() as tasks:
        tasks.start(events.run(), name="events")
        await until(clock, lambda: len(api.created) == 300)
    assert api.batches == 2


async def test_a_flood_is_written_at_a_bounded_rate_and_nothing_of_it_is_lost() -> None:
    clock, api = FakeClock(), Events()
    events = recorder(api, clock, per_second=10.0)
    async with Supervisor() as tasks:
        tasks.start(events.run(), name="events")
        for number in range(100):
            record(events, CLASSES.info(make_pod(f"p{number}")))
        await clock.advance(0)
        assert len(api.created) == 20, "two seconds' worth at once"
        await clock.advance(3)
        assert 45 <= len(api.created) <= 50
        await clock.advance(6)
    assert len(api.created) == 100 and api.batches <= 41


async def test_warnings_do_not_wait_behind_the_rest() -> None:
    clock, api = FakeClock(), Events()
    events = recorder(api, clock, per_second=1.0)
    for number in range(50):
        pod = CLASSES.info(make_pod(f"p{number}"))
        events.record(pod, kind="Normal", reason="Scheduled", message="assigned", action="Binding", component="mine")
    record(events, CLASSES.info(make_pod("late")))
    async with Supervisor() as tasks:
        tasks.start(events.run(), name="events")
        await until(clock, lambda: bool(api.created))
    assert api.created[0].involved_object.name == "late"


async def test_an_event_that_expired_is_created_anew() -> None:
    clock, api, pod = FakeClock(), Events(), CLASSES.info(make_pod("web"))
    events = recorder(api, clock)
    async with Supervisor() as tasks:
        tasks.start(events.run(), name="events")
        record(events, pod)
        await clock.advance(1)
        api.failure = status.not_found("events", "x")
        record(events, pod)
        await clock.advance(1)
        api.failure = None
        record(events, pod)
        await clock.advance(1)
    assert len(api.created) == 2 and len(api.updated) == 1
