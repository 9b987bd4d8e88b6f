"""Watches every node of the cluster, and remembers when each was first Ready and whether it ever was not since.

A watch may end (its server was restarted): the next one begins with all nodes, and a node's Ready condition says itself
when it last changed, so that nothing that came and went in between is missed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.watch.v1 import watch_pb2
from services.base.clock import Clock
from services.bench.heartbeat.hosts import PREFIX
from services.client.clientset import Clientset
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

RETRY_S = 0.2
EVENTS_PER_TURN = 500


@dataclass
class Seen:
    """Moments are seconds of CLOCK_MONOTONIC. ``changed_s``: the Ready condition's own last transition (Unix)."""

    uid: str
    ready: bool = False
    ready_s: float = float("nan")
    changed_s: float = 0.0


@dataclass
class Witness:
    """The nodes of this run, by (partition, name); ``violations``: what happened after ``hold`` and must not."""

    wanted: int
    nodes: dict[tuple[str, str], Seen] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    all_ready: asyncio.Event = field(default_factory=asyncio.Event)
    ready: int = 0
    reconnects: int = 0
    holding: bool = False
    began_s: float = 0.0

    def begin(self, now_s: float) -> None:
        """The first kubelet is about to be started."""
        self.began_s = now_s

    @property
    def joined_s(self) -> float:
        """From the start of the first kubelet's process until the last node was first seen Ready; 0 without nodes."""
        return max((seen.ready_s for seen in self.nodes.values()), default=self.began_s) - self.began_s

    def hold(self) -> None:
        """From now on every node must stay as it is."""
        self.holding = True

    def take(self, partition: str, node: Node, event_type: int, now_s: float) -> None:
        """One event of a partition's watch."""
        name = node.metadata.name
        if not name.startswith(PREFIX):
            return
        if event_type == watch_pb2.DELETED:
            gone = self.nodes.pop((partition, name), None)
            if gone is not None:
                self.ready -= gone.ready
                self._violated(f"{partition}/{name} was deleted")
            return
        seen = self.nodes.get((partition, name))
        if seen is None:
            seen = self.nodes[partition, name] = Seen(node.metadata.uid)
            self._violated(f"{partition}/{name} appeared while all were there")
        status, changed_s = ready_condition(node)
        if self.holding and seen.uid != node.metadata.uid:
            self._violated(f"{partition}/{name} is another node of that name")
        if self.holding and (status != "True" or changed_s != seen.changed_s):
            self._violated(f"{partition}/{name} was {'Ready again' if status == 'True' else f'not Ready ({status})'}")
        is_ready = status == "True"
        self.ready += is_ready - seen.ready
        seen.uid, seen.ready, seen.changed_s = node.metadata.uid, is_ready, changed_s
        if is_ready and seen.ready_s != seen.ready_s:  # not a number yet
            seen.ready_s = now_s
        if self.ready >= self.wanted:
            self.all_ready.set()

    def replaced(self, partition: str, present: set[str]) -> None:
        """A watch began anew with these nodes: the others are gone."""
        for known, name in [key for key in self.nodes if key[0] == partition and key[1] not in present]:
            self.ready -= self.nodes.pop((known, name)).ready
            self._violated(f"{partition}/{name} was deleted")

    def _violated(self, what: str) -> None:
        if self.holding:
            self.violations.append(what)


async def follow(witness: Witness, partition: str, client: Clientset, synced: asyncio.Event, clock: Clock) -> None:
    """Watch one resource partition's nodes until cancelled."""
    while True:
        initial: set[str] | None = set()
        try:
            async for batch in client.nodes.watch(send_initial_events=True, bookmarks=True):
                now_s = clock.monotonic()
                for number, event in enumerate(batch.events, 1):
                    witness.take(partition, event.object, event.type, now_s)
                    if initial is not None:
                        initial.add(event.object.metadata.name)
                    if number % EVENTS_PER_TURN == 0:
                        await asyncio.sleep(0)
                if batch.initial_events_end and initial is not None:
                    witness.replaced(partition, initial)
                    initial = None
                    synced.set()
        except StatusError as failure:
            _log.info("the watch of nodes ended", extra={"partition": partition, "cause": failure.message})
        witness.reconnects += 1
        await clock.sleep(RETRY_S)


def ready_condition(node: Node) -> tuple[str, float]:
    """The status of condition Ready ("" without one), and when it became so (Unix seconds)."""
    for condition in node.status.conditions:
        if condition.type == "Ready":
            at = condition.last_transition_time
            return condition.status, at.seconds + at.nanos / 1e9
    return "", 0.0
