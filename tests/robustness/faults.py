"""What goes wrong, by chance: processes die or freeze, links break, etcd forgets its history.

Each fault undoes itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import grpc

from services.base.rand import Rand
from services.bench.link import Link
from tests.robustness.cluster import Cluster, ServerProcess
from tests.robustness.history import Fault, Incident, Recorder
from tests.robustness.watching_etcd import TruthKeeper

Action = Callable[[], Awaitable[str]]
MONITOR_PERIOD_S = 0.2


class Faults:
    """``run`` injects until ``stop``; ``counts`` by name. Two faults at once never touch the same thing.

    ``only``: a regular expression that the names of faults must match, to look into one kind of them.
    """

    def __init__(
        self,
        cluster: Cluster,
        truth: TruthKeeper,
        recorder: Recorder,
        rand: Rand,
        *,
        pause_s: tuple[float, float],
        only: str = "",
    ) -> None:
        self.counts: dict[str, int] = {}
        self._cluster = cluster
        self._truth = truth
        self._recorder = recorder
        self._rand = rand
        self._pause_s = pause_s
        self._only = re.compile(only)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._rand.uniform(*self._pause_s))
            if stop.is_set():
                return
            await self._round()

    async def monitor(self) -> None:
        """A server that ends without having been told is an incident; it is started again."""
        while True:
            await asyncio.sleep(MONITOR_PERIOD_S)
            for server in self._cluster.servers:
                if not server.expected_down and not server.running:
                    self._recorder.add(Incident(time.monotonic(), f"{server.name} ended by itself; see {server.log}"))
                    server.start()

    async def _round(self) -> None:
        targets = self._targets()
        names = sorted(targets)
        chosen = {self._rand.choice(names)}
        if self._rand.uniform(0, 1) < 0.25:
            chosen.add(self._rand.choice(names))
        async with asyncio.TaskGroup() as tasks:
            for target in sorted(chosen):
                name = self._rand.choice(sorted(targets[target]))
                tasks.create_task(self._inject(name, targets[target][name]))

    async def _inject(self, name: str, action: Action) -> None:
        begin = time.monotonic()
        detail = await action()
        self.counts[name] = self.counts.get(name, 0) + 1
        self._recorder.add(Fault(name, begin, time.monotonic(), detail))

    def _targets(self) -> dict[str, dict[str, Action]]:
        found: dict[str, dict[str, Action]] = {
            # One member at a time: what two of three do is what one of one does.
            "etcd": {
                "kill etcd": self._kill_etcd,
                "freeze etcd": self._freeze_etcd,
                "fill etcd (nospace)": self._fill_etcd,
            },
            "history": {"compact etcd": self._compact},
        }
        for server in self._cluster.servers:
            found[server.name] = {
                "kill server": partial(self._end_server, server, signal.SIGKILL),
                "stop server": partial(self._end_server, server, signal.SIGTERM),
                "freeze server": partial(self._freeze_server, server),
            }
        for where, links in (("clients", self._cluster.links), ("etcd", self._cluster.etcd_links)):
            for number, link in enumerate(links):
                found[f"{where} link {number}"] = {
                    f"cut {where} link": partial(self._cut, link),
                    f"sever {where} link": partial(self._sever, link),
                    f"stall {where} link": partial(self._stall, link),
                    f"lose requests on {where} link": partial(self._lose, link, requests=True),
                    f"lose answers on {where} link": partial(self._lose, link, requests=False),
                }
        chosen = {
            target: {name: action for name, action in actions.items() if self._only.search(name)}
            for target, actions in found.items()
        }
        return {target: actions for target, actions in chosen.items() if actions}

    # -- processes

    async def _kill_etcd(self) -> str:
        member = self._rand.choice(self._cluster.members)
        member.kill()
        await self._while(0.0, 2.0)
        await asyncio.to_thread(member.start)
        return member.name

    async def _freeze_etcd(self) -> str:
        member = self._rand.choice(self._cluster.members)
        member.pause()
        lasted = await self._while(0.2, 6.0)
        member.resume()
        return f"{member.name} {lasted}"

    async def _fill_etcd(self) -> str:
        """The alarm is what etcd raises when it has reached its quota: it takes deletions and compaction only."""
        try:
            await self._truth.arm()
        except grpc.RpcError as failure:
            return f"failed: {failure}"[:100]
        lasted = await self._while(0.2, 4.0)
        while True:
            with contextlib.suppress(grpc.RpcError):
                await self._truth.disarm()
                return lasted
            await self._while(0.1, 0.2)

    async def _end_server(self, server: ServerProcess, number: signal.Signals) -> str:
        if not await server.end(number):
            self._recorder.add(Incident(time.monotonic(), f"{server.name} does not end within 15 s of {number.name}"))
        await self._while(0.0, 1.0)
        server.start()
        return server.name

    async def _freeze_server(self, server: ServerProcess) -> str:
        server.send(signal.SIGSTOP)
        lasted = await self._while(0.2, 4.0)
        server.send(signal.SIGCONT)
        return f"{server.name} {lasted}"

    # -- history

    async def _compact(self) -> str:
        try:
            return f"at {await self._truth.compact()}"
        except grpc.RpcError as failure:
            return f"failed: {failure}"[:100]

    # -- links

    async def _cut(self, link: Link) -> str:
        for _ in range(self._rand.integer(1, 4)):
            link.cut()
            await self._while(0.0, 0.5)
        return str(link.port)

    async def _sever(self, link: Link) -> str:
        link.sever()
        lasted = await self._while(0.2, 4.0)
        link.heal()
        return f"{link.port} {lasted}"

    async def _stall(self, link: Link) -> str:
        link.stall()
        lasted = await self._while(0.2, 6.0)
        link.heal()
        return f"{link.port} {lasted}"

    async def _lose(self, link: Link, *, requests: bool) -> str:
        link.lose(requests=requests)
        lasted = await self._while(0.05, 1.5)
        link.heal()
        return f"{link.port} {lasted}"

    async def _while(self, low_s: float, high_s: float) -> str:
        seconds = self._rand.uniform(low_s, high_s)
        await asyncio.sleep(seconds)
        return f"{seconds:.2f} s"
