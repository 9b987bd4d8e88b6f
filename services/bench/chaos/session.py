"""One run on one cluster: load, faults in turn, each followed by a check, and a history of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from services.api.kinds import NODES, PODS
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor, stop_task
from services.bench.chaos import ending
from services.bench.chaos.actions import Actions
from services.bench.chaos.board import Board
from services.bench.chaos.facts import Begun, Fault, Recovered
from services.bench.chaos.faults import Faults
from services.bench.chaos.follower import Follower
from services.bench.chaos.load import Load
from services.bench.chaos.parameters import ChaosParameters
from services.bench.chaos.progress import Progress, Standing
from services.bench.chaos.recorder import Recorder
from services.bench.chaos.schedule import Schedule
from services.bench.cluster import BenchCluster, ClusterFailed
from services.client.partitions import Connection

_POLL_S = 0.25
_STEADY_S = 180.0
_BREAK_OFF_S = (1.0, 5.0)
# What ends by itself needs this long at most in the end, beside the batch pods' own time.
_REST_S = 60.0

Mark = Callable[[str], None]


class Session:
    """``run`` it once. ``progress``: told what happens, for people; ``mark``: of moments, for plots."""

    def __init__(
        self,
        parameters: ChaosParameters,
        cluster: BenchCluster,
        actions: Actions,
        recorder: Recorder,
        clock: Clock,
        progress: Progress,
        mark: Mark,
    ) -> None:
        self._parameters = parameters
        self._cluster = cluster
        self._actions = actions
        self._recorder = recorder
        self._clock = clock
        self._progress = progress
        self._mark = mark
        rand = Rand(parameters.seed)
        self._rand = rand
        self._tenant = {name: Connection(name, [at], clock, rand) for name, at in cluster.endpoints("tenant").items()}
        self._resource = {
            name: Connection(name, [at], clock, rand) for name, at in cluster.endpoints("resource").items()
        }
        self._boards = {name: Board() for name in (*self._tenant, *self._resource)}
        # Chance for the faults alone, so that the same seed takes the same targets whatever the load does.
        self._faults = Faults(actions, parameters, self._nodes, clock, Rand(parameters.seed + 1), self._note)
        with_controllers = {name.removeprefix("controller-") for name in actions.components("controllers")}
        self.loads = [
            Load(
                name,
                connection.clientset,
                self._boards[name],
                recorder,
                parameters,
                clock,
                rand,
                replica_sets=name in with_controllers,
            )
            for name, connection in self._tenant.items()
        ]
        self._schedule = Schedule(self._faults, parameters, clock, rand, self._check)
        self._followers = [self._follower(name, kind, "a") for name, kind in self._watched()]
        self._restless = [self._follower(name, kind, "b") for name, kind in self._watched()]

    async def run(self) -> None:
        """The whole run. Raises ``ClusterFailed``, ``StatusError``, ``NotDone``."""
        self._recorder.add(Begun(self._clock.monotonic(), self._parameters.seed, self._parameters.bounds))
        connections = (*self._tenant.values(), *self._resource.values())
        async with Supervisor() as tasks:
            for connection in connections:
                tasks.start(connection.run(), name=f"connection-{connection.name}")
            for follower in (*self._followers, *self._restless):
                await follower.start().initial_end.wait()
            tasks.start(self._break_off(), name="break-off")
            stopping = asyncio.Event()
            for load in self.loads:
                await load.begin()
            loading = [tasks.start(load.run(stopping), name=f"load-{load.partition}") for load in self.loads]
            tasks.start(self._progress.run(self._standing), name="progress")
            self._progress.step("until the load is steady", _STEADY_S)
            late = await self._settle(_STEADY_S)
            if late:
                raise ClusterFailed(f"the load did not become steady: {'; '.join(late)}")
            self._progress.step_faults()
            await self._schedule.run()
            await self._rest(stopping)
            for task in loading:
                await stop_task(task)
            await self._end()

    # -- faults

    async def _check(self, name: str, done: Sequence[Fault]) -> None:
        """The faults are over: is everything well again, in time?"""
        self._recorder.extend(done)
        over = self._clock.monotonic()
        late = await self._settle(self._parameters.comeback_s)
        now = self._clock.monotonic()
        target = "; ".join(dict.fromkeys(fault.target for fault in done))
        self._recorder.add(Recovered(now, f"{name} of {target}", over, tuple(late)))
        self._progress.checked(violations=len(late))
        verdict = f"NOT WELL: {'; '.join(late)}" if late else f"well again after {now - over:.1f} s"
        self._note(f"{name} over: {verdict}")

    def _note(self, text: str) -> None:
        self._progress.say(text)
        self._mark(text)

    def _standing(self) -> Standing:
        return Standing(
            injected=self._schedule.injected,
            acknowledged=sum(load.counts.created for load in self.loads),
            running=sum(self._boards[load.partition].running() for load in self.loads),
        )

    def _nodes(self) -> Mapping[str, Sequence[str]]:
        """Nodes by resource partition: those with most pods first."""
        pods: dict[str, int] = {}
        for name in self._tenant:
            for pod in self._boards[name].pods.values():
                pods[pod.node] = pods.get(pod.node, 0) + bool(pod.workload)
        return {
            name: sorted(self._boards[name].nodes, key=lambda node: (-pods.get(node, 0), node))
            for name in self._resource
        }

    # -- checks

    async def _settle(self, within_s: float) -> list[str]:
        """Wait until everything is well; what is not, when the time is up."""
        deadline = self._clock.monotonic() + within_s
        while True:
            late = self._unwell() or [f"{name} is not ready" for name in await self._actions.unready()]
            if not late or self._clock.monotonic() >= deadline:
                return late
            await self._clock.sleep(_POLL_S)

    def _unwell(self) -> list[str]:
        away = self._faults.away
        found = [f"{node} is not well" for name in self._resource for node in self._boards[name].unwell(away)]
        for load in self.loads:
            missing = self._boards[load.partition].missing(load.wanted, away)
            found += [f"{load.partition} {text}" for text in missing]
        return found

    # -- the end

    async def _rest(self, stopping: asyncio.Event) -> None:
        """No more batch pods; wait for those that there are, and for the replicas."""
        stopping.set()
        self._progress.say("coming to rest")
        within_s = self._parameters.batch_seconds + _REST_S
        self._progress.step("coming to rest", within_s)
        deadline = self._clock.monotonic() + within_s
        while self._clock.monotonic() < deadline:
            if not any(load.jobs_left for load in self.loads) and not self._unwell():
                return
            await self._clock.sleep(_POLL_S)

    async def _end(self) -> None:
        within_s = self._parameters.review_s + _REST_S
        self._progress.step("the last reads", within_s + self._parameters.comeback_s)
        self._recorder.extend(await ending.final_facts(self._tenant, self._resource, self._clock, within_s))
        before = {follower: follower.position for follower in (*self._followers, *self._restless)}
        await ending.make_markers(self._tenant, self._resource)
        deadline = self._clock.monotonic() + self._parameters.comeback_s
        while any(follower.position <= position for follower, position in before.items()):
            if self._clock.monotonic() >= deadline:
                break  # The validator says who did not get there.
            await self._clock.sleep(_POLL_S)
        self._recorder.extend(ending.run_journal(self._cluster))

    # -- watches

    def _watched(self) -> Iterable[tuple[str, str]]:
        yield from ((name, PODS.resource) for name in self._tenant)
        yield from ((name, NODES.resource) for name in self._resource)

    def _follower(self, name: str, resource: str, which: str) -> Follower:
        """``a`` stays as it is and tells the board; ``b`` breaks off again and again."""
        board = self._boards[name] if which == "a" else None
        connection = (self._tenant | self._resource)[name]
        return Follower(
            f"{name}/{resource}/{which}",
            connection.mux,
            PODS if resource == PODS.resource else NODES,
            self._recorder,
            self._clock,
            self._rand,
            on_seen=board.take if board else None,
            on_reset=board.reset if board else None,
        )

    async def _break_off(self) -> None:
        while True:
            await self._clock.sleep(self._rand.uniform(*_BREAK_OFF_S))
            self._rand.choice(self._restless).break_off()
