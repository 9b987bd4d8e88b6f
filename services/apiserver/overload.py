"""Two lanes in the server: heartbeats, elections, binds and node status never wait behind anybody's storm.

What a client may cause without bound (writes, reads, lists, openings of watches) is bounded: so many at once, so many
in line, and everybody else is told to come again (RESOURCE_EXHAUSTED, TooManyRequests, RetryInfo).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.api.kinds import NODES, PODS, Kind
from services.apiserver import limits, metrics
from services.apiserver.lists import Aside, Unread
from services.apiserver.readers import Readers
from services.rpc import status
from services.rpc.lanes import Budget, Lane
from services.rpc.status import StatusError

_SYSTEM = frozenset(
    {
        (PODS.resource, "BIND"),
        (PODS.resource, "BATCHBIND"),
        (PODS.resource, "BATCHREVOKEBIND"),
        (NODES.resource, "UPDATESTATUS"),
        (NODES.resource, "BATCHUPDATESTATUS"),
    }
)
# These have lanes of their own, whatever the kind.
_BULKY = ("List", "Watch")


@dataclass(frozen=True)
class OverloadConfig:
    """``*_at_once_max``: calls under way; ``*_waiting_max``: calls in line, none longer than ``wait_s_max``.

    ``openings``: watches whose initial state is not yet sent. ``typed_watches_max``: typed watches that are open, each
    a stream of its own; ``multiplexed_streams_max``, ``multiplexed_watches_max``: multiplexed streams, and watches on
    one of them. ``lists_waiting_max`` is also how many lists may wait for freshness. ``workload_bytes_max``,
    ``system_bytes_max``: bytes of the requests under way. ``lists_unread_bytes_max``: parts of lists that were given
    up because nobody read them; ``watches_unread_bytes_max``: messages of watches that were. ``retry_after_s``: what
    those are told who are refused.
    """

    writes_at_once_max: int = 128
    writes_waiting_max: int = 1024
    reads_at_once_max: int = 128
    reads_waiting_max: int = 1024
    lists_at_once_max: int = 16
    lists_waiting_max: int = 512
    openings_at_once_max: int = 64
    openings_waiting_max: int = 4096
    typed_watches_max: int = 5_000
    multiplexed_streams_max: int = 20_000
    multiplexed_watches_max: int = 100_000
    system_at_once_max: int = 512
    system_waiting_max: int = 8192
    wait_s_max: float = 5.0
    retry_after_s: float = 1.0
    workload_bytes_max: int = 64 << 20
    system_bytes_max: int = 32 << 20
    lists_unread_bytes_max: int = 64 << 20
    watches_unread_bytes_max: int = 64 << 20


class Bulk:
    """Turns for the parts of lists and of watches' initial states: ``async with bulk`` while one part is made.

    One part in each turn of the event loop, however many are under way, and a small one when others have work to do:
    gRPC accepts one call in each turn, so that the length of a turn is what a heartbeat waits for.
    """

    def __init__(self, urgent: Sequence[Lane], bulky: Sequence[Lane]) -> None:
        self._urgent = urgent
        self._bulky = bulky
        self._lock = asyncio.Lock()

    @property
    def part_bytes(self) -> int:
        alone = not self._contended and sum(lane.running for lane in self._bulky) <= 1
        return limits.MESSAGE_BYTES_TARGET if alone else limits.BUSY_PART_BYTES_TARGET

    @property
    def _contended(self) -> bool:
        return any(lane.running for lane in self._urgent) or any(lane.waiting for lane in self._bulky)

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *failure: object) -> None:
        self._release(limits.TURNS_BETWEEN_PARTS if self._contended else 0)

    def _release(self, turns: int) -> None:
        """Let others have ``turns`` turns of the loop before the next part."""
        if turns:
            asyncio.get_running_loop().call_soon(self._release, turns - 1)
        else:
            self._lock.release()


class Standing:
    """Watches, or streams of them, that stand: how many, and how many may. Unlike a lane's, their places are kept for
    an hour, so that nobody waits for one."""

    def __init__(self, name: str, most: int, retry_after_s: float) -> None:
        self._name = name
        self.count = 0
        self.refused = 0
        self._most = most
        self._retry_after_s = retry_after_s

    @contextlib.contextmanager
    def one(self) -> Iterator[Callable[[], None]]:
        """One more while inside, or until what this gives is called. Raises ``StatusError`` (TooManyRequests)."""
        if self.count >= self._most:
            self.refused += 1
            raise too_many_watches(f"{self._most} open {self._name} are the limit of this server", self._retry_after_s)
        self.count += 1
        held = True

        def leave() -> None:
            nonlocal held
            if held:
                held = False
                self.count -= 1

        try:
            yield leave
        finally:
            leave()


def too_many_watches(message: str, retry_after_s: float) -> StatusError:
    return status.resource_exhausted("TooManyRequests", message, retry_after_s=retry_after_s)


class Overload:
    """The lanes of one server."""

    def __init__(self, config: OverloadConfig | None = None) -> None:
        self.config = config = config or OverloadConfig()
        workload, system = Budget(config.workload_bytes_max), Budget(config.system_bytes_max)
        self.writes = self._lane("writes", config.writes_at_once_max, config.writes_waiting_max, workload)
        self.reads = self._lane("reads", config.reads_at_once_max, config.reads_waiting_max, workload)
        self.lists = self._lane("lists", config.lists_at_once_max, config.lists_waiting_max, workload)
        self.openings = self._lane("watches", config.openings_at_once_max, config.openings_waiting_max, workload)
        self.system = self._lane("heartbeats", config.system_at_once_max, config.system_waiting_max, system)
        self.bulk = Bulk((self.writes, self.reads, self.system), (self.lists, self.openings))
        self.lists_aside = Aside(self.lists, limits.LIST_FRESHNESS_S_MAX, config.lists_waiting_max)
        unread = Budget(config.lists_unread_bytes_max)
        self.lists_unread = Unread(limits.LIST_UNREAD_S_MAX, unread, config.retry_after_s)
        self.watch_readers = Readers(limits.WATCH_UNREAD_S_MAX, Budget(config.watches_unread_bytes_max))
        self.typed_watches = Standing("watches", config.typed_watches_max, config.retry_after_s)
        self.multiplexed_streams = Standing("watch streams", config.multiplexed_streams_max, config.retry_after_s)
        metrics.REFUSED.labels("open watches").set_function(lambda: self.typed_watches.refused)
        metrics.REFUSED.labels("watch streams").set_function(lambda: self.multiplexed_streams.refused)
        metrics.follow_lanes((self.writes, self.reads, self.lists, self.openings, self.system))

    def lane_of(self, kind: Kind, verb: str) -> Lane:
        """The lane of a unary method; ``verb`` as metrics have it ("GET", "BATCHCREATE")."""
        if kind.lane_system or (kind.resource, verb) in _SYSTEM:
            return self.system
        return self.reads if verb == "GET" else self.writes

    def is_urgent(self, kind: Kind, method: str) -> bool:
        """Whether calls of ``method`` ("BatchBind") must not even wait to be accepted: those of the system's lane."""
        return method not in _BULKY and self.lane_of(kind, method.upper()) is self.system

    def _lane(self, name: str, at_once_max: int, waiting_max: int, budget: Budget) -> Lane:
        return Lane(
            name,
            at_once_max=at_once_max,
            waiting_max=waiting_max,
            wait_s_max=self.config.wait_s_max,
            retry_after_s=self.config.retry_after_s,
            budget=budget,
        )
