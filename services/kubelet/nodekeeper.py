"""Keeps the nodes of one resource partition registered and reported: the shell around ``nodestatus``. Their leases are
``leasekeeper``'s. Many nodes share each message.

A node that is deleted while its kubelet runs is registered again; one that exists already is adopted: its labels are
completed and its status is taken over. A host that has lost a node to another one leaves it alone as long as it is
Ready, so that two hosts that were given one node do not take it from each other for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from services.api.kinds import NODES
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.client.clientset import Outcome
from services.client.informer import Change, Informer
from services.client.partitions import Connection
from services.kubelet import metrics, nodestatus
from services.kubelet.config import TimingConfig
from services.kubelet.contact import Contact
from services.kubelet.health import HEALTHY, Health
from services.kubelet.kept import ACCESSORS, Kept, keeping
from services.kubelet.leasekeeper import LeaseKeeper
from services.kubelet.nodestatus import NodeAction, NodeTemplate
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

BATCH_NODES = 500
# Batches under way: the server works on one while the next is made.
BATCHES_AT_ONCE = 3
ADOPTIONS_AT_ONCE = 16
# A write is not repeated for this long while the watch has not shown it yet.
SETTLE_S = 5.0
# A node that another host has taken is looked at again after this.
TAKEN_S = 10.0
# Nodes decided about before other tasks get a turn.
NODES_PER_TURN = 100
# Nodes decided about before the first of them is written.
NODES_PER_ROUND = 5_000
# The nodes whose turn it is to have their status computed are looked at in so many parts, spread over the period.
PARTS = 20

_KEEP_NODE = keeping(NODES)


class NodeEntry:
    """One node of this host. Times are the clock's ``monotonic``, but ``reported_s`` is wall time.

    ``silent``: nothing is sent for it. ``boots``: times that its machine was started anew while this process ran.
    ``held``: it has been this host's since this process began.
    """

    __slots__ = (
        "as_wanted",
        "boots",
        "contact",
        "has_lease",
        "health",
        "held",
        "name",
        "reported_s",
        "settling_until",
        "silent",
        "template",
        "zone",
    )

    def __init__(self, name: str, zone: str, template: NodeTemplate, contact: Contact) -> None:
        self.name = name
        self.zone = zone
        self.template = template
        self.contact = contact
        self.health = HEALTHY
        self.reported_s = 0.0
        self.settling_until = 0.0
        self.has_lease = False
        self.held = False
        self.silent = False
        self.boots = 0
        # The node as it was when nothing was to be done about it.
        self.as_wanted: bytes | None = None

    def labels(self) -> Mapping[str, str]:
        """Those that the kubelet keeps on the node."""
        return nodestatus.labels(self.template, self.name, self.zone)


class _Seen:
    """The nodes of an informer, by name. To ask whether a node is there costs no parsing: each renewal asks."""

    def __init__(self, informer: Informer[Kept]) -> None:
        self._informer = informer

    def __contains__(self, name: object) -> bool:
        return f"/ursa/nodes/{name}" in self._informer.store

    def data(self, name: str) -> bytes | None:
        """In wire form: the same object as long as the node has not changed."""
        kept = self._informer.store.get(f"/ursa/nodes/{name}")
        return None if kept is None else kept.data

    def get(self, name: str) -> Node | None:
        data = self.data(name)
        return None if data is None else Node.FromString(data)


class NodeKeeper:
    """``run`` registers ``entries`` and keeps them; ``registered`` when all of them are in the partition.
    ``on_contact``: as ``LeaseKeeper``'s."""

    def __init__(
        self,
        connection: Connection,
        entries: Iterable[NodeEntry],
        *,
        host: str,
        timing: TimingConfig,
        clock: Clock,
        rand: Rand,
        on_contact: Callable[[Sequence[str]], None],
    ) -> None:
        self._connection = connection
        self._host = host
        self._entries = {entry.name: entry for entry in entries}
        self._timing = timing
        self._clock = clock
        self._rand = rand
        self._informer: Informer[Kept] = Informer(
            connection.mux,
            NODES,
            decode=_KEEP_NODE,
            accessors=ACCESSORS,
            label_selector=f"{nodestatus.HOST_LABEL}={host}",
            on_batch=self._changed,
        )
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._present = _Seen(self._informer)
        self._leases = LeaseKeeper(
            connection,
            [*self._entries.values()],
            self._present,
            timing=timing,
            clock=clock,
            rand=rand,
            on_contact=on_contact,
        )
        self._registered: set[str] = set()
        self._ready: set[str] = set()

    @property
    def registered(self) -> bool:
        return len(self._registered) == len(self._entries)

    def silence(self, names: Iterable[str]) -> None:
        """From now on neither renew nor report these nodes: they are dead, or cut off."""
        for name in names:
            self._entries[name].silent = True

    def resume(self, names: Iterable[str], *, rebooted: bool = False) -> None:
        """They are back: renew and report them at once. ``rebooted``: under a new boot id."""
        back = [*names]
        for name in back:
            entry = self._entries[name]
            entry.silent = False
            entry.boots += rebooted
            # Not what was last written counts but what others made of it meanwhile: the status is reported in any case.
            entry.reported_s = entry.settling_until = 0.0
            self._dirty.add(name)
        self._wake.set()
        self._leases.begin(back)

    @property
    def name(self) -> str:
        """The resource partition."""
        return self._connection.name

    def node(self, name: str) -> Node | None:
        """The node as last seen."""
        return self._present.get(name)

    async def run(self) -> None:
        """Until cancelled."""
        self._informer.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_nodes(), name=f"nodes-{self.name}")
                group.create_task(self._compute(), name=f"node-statuses-{self.name}")
                group.create_task(self._leases.run(), name=f"node-leases-{self.name}")
        finally:
            self._informer.close()

    async def watch_health(self, entries: Sequence[NodeEntry], measure: Callable[[float], Awaitable[Health]]) -> None:
        """Until cancelled: once in each period, how the machine under ``entries`` is. A change is reported at once."""
        while True:
            health = await measure(self._clock.monotonic())
            for entry in entries:
                if entry.health != health:
                    entry.health, entry.as_wanted = health, None
                    self._dirty.add(entry.name)
                    self._wake.set()
            await self._clock.sleep(self._timing.node_status_compute_s)

    def _changed(self, changes: Sequence[Change[Kept]]) -> None:
        leaseless: list[str] = []
        for change in changes:
            node = None if change.new is None else Node.FromString(change.new.data)
            entry = self._entries.get(change.key.rpartition("/")[2])
            if entry is None:
                continue  # Of an earlier configuration of this host: left alone.
            entry.settling_until = 0.0
            self._dirty.add(entry.name)
            self._note_ready(entry.name, node)
            if change.new is None:
                self._registered.discard(entry.name)
                entry.has_lease = False
            elif entry.name not in self._registered:
                self._registered.add(entry.name)
                entry.held = True
                leaseless.append(entry.name)
        # What the first list brings was there before this process: its leases are as they should be.
        self._leases.begin(leaseless, fresh=self._informer.has_synced)
        metrics.NODES.labels(self.name).set(len(self._registered))
        metrics.READY_NODES.labels(self.name).set(len(self._ready))
        self._wake.set()

    def _note_ready(self, name: str, node: Node | None) -> None:
        if node is not None and nodestatus.is_ready(node):
            self._ready.add(name)
        else:
            self._ready.discard(name)

    # Nodes.

    async def _keep_nodes(self) -> None:
        await self._informer.synced.wait()
        backoff = Backoff(self._rand, initial_s=0.2, maximum_s=self._timing.node_status_compute_s)
        self._dirty.update(self._entries)
        while True:
            while not self._dirty:
                self._wake.clear()
                await self._wake.wait()
            if await self._reconcile(self._take_dirty()):
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())

    async def _compute(self) -> None:
        """Once in each period, a part at a time: which nodes may need a write that no change of theirs has told of?

        What a status is computed from are the node as it is, and what its host knows of it (``watch_health``): a
        change of either is looked at when it happens. So all that time alone can bring is a report that is due, or a
        write that has left no trace.
        """
        await self._informer.synced.wait()
        entries = [*self._entries.values()]
        part = 0
        while True:
            await self._clock.sleep(self._timing.node_status_compute_s / PARTS)
            due_s = self._clock.time() - self._timing.node_status_report_s
            registered = self._registered
            for entry in entries[part::PARTS]:
                if entry.reported_s <= due_s or entry.settling_until or entry.name not in registered:
                    self._dirty.add(entry.name)
            part = (part + 1) % PARTS
            if self._dirty:
                self._wake.set()

    def _take_dirty(self) -> list[NodeEntry]:
        names = sorted(itertools.islice(self._dirty, NODES_PER_ROUND))
        self._dirty.difference_update(names)
        return [self._entries[name] for name in names]

    async def _reconcile(self, entries: Sequence[NodeEntry]) -> bool:
        """Do what ``nodestatus.decide`` says for each; False: something must be tried again soon."""
        todo: dict[NodeAction, list[NodeEntry]] = {}
        for number, entry in enumerate(entries, 1):
            action = self._decide(entry)
            if action is not NodeAction.NOTHING:
                todo.setdefault(action, []).append(entry)
            if number % NODES_PER_TURN == 0:
                await self._clock.sleep(0)
        places = asyncio.Semaphore(BATCHES_AT_ONCE)

        async def act(action: NodeAction, batch: Sequence[NodeEntry]) -> bool:
            async with places:
                return await self._act(action, batch)

        async with asyncio.TaskGroup() as group:
            acts = [
                group.create_task(act(action, batch), name=f"node-writes-{self.name}")
                for action, chosen in todo.items()
                for batch in _slices(chosen, BATCH_NODES)
            ]
        return all(task.result() for task in acts)

    def _decide(self, entry: NodeEntry) -> NodeAction:
        if entry.silent or self._clock.monotonic() < entry.settling_until:
            return NodeAction.NOTHING
        now_s, every_s = self._clock.time(), self._timing.node_status_report_s
        data = self._present.data(entry.name)
        # Thousands of nodes are looked at each second: one that was as wanted, is not parsed again until it changes.
        if data is not None and data is entry.as_wanted and now_s - entry.reported_s < every_s:
            return NodeAction.NOTHING
        action = nodestatus.decide(
            entry.template,
            entry.name,
            entry.zone,
            None if data is None else Node.FromString(data),
            boots=entry.boots,
            health=entry.health,
            now_s=now_s,
            reported_s=entry.reported_s,
            every_s=every_s,
        )
        entry.as_wanted = data if action is NodeAction.NOTHING else None
        return action

    async def _act(self, action: NodeAction, entries: Sequence[NodeEntry]) -> bool:
        nodes = self._connection.clientset.nodes
        try:
            match action:
                case NodeAction.CREATE:
                    outcomes = await nodes.batch_create([self._created(entry) for entry in entries])
                case NodeAction.UPDATE:
                    outcomes = await nodes.batch_update([self._updated(entry) for entry in entries])
                case _:
                    outcomes = await nodes.batch_update_status([self._reported(entry) for entry in entries])
        except StatusError as error:
            self._count(action, error, len(entries))
            self._dirty.update(entry.name for entry in entries)
            return False
        settled = True
        existing: list[NodeEntry] = []
        for entry, outcome in zip(entries, outcomes, strict=True):
            refusal = outcome.status
            if action is NodeAction.CREATE and refusal is not None and refusal.reason == "AlreadyExists":
                existing.append(entry)
            else:
                settled &= self._settle(action, entry, outcome)
        for group in _slices(existing, ADOPTIONS_AT_ONCE):
            settled &= all(await asyncio.gather(*(self._adopt(entry) for entry in group)))
        return settled

    def _settle(self, action: NodeAction, entry: NodeEntry, outcome: Outcome) -> bool:
        error = outcome.status
        self._count(action, error, 1)
        if error is None:
            if action is not NodeAction.UPDATE:
                # Nodes that were registered together are not reported together ever after. kubelet (calculateDelay)
                # spreads them over half the period: for 50,000 nodes 333 reports a second; an even flow are 167.
                early_s = 0.0 if entry.reported_s else self._rand.uniform(0.0, self._timing.node_status_report_s)
                entry.reported_s = self._clock.time() - early_s
            # The watch may have shown the write before its answer came: then there is nothing to wait for.
            if self.node(entry.name) is None or action is NodeAction.UPDATE:
                entry.settling_until = self._clock.monotonic() + SETTLE_S
            return True
        retry = is_retryable(error)
        if retry:
            self._dirty.add(entry.name)
        return not retry

    async def _adopt(self, entry: NodeEntry) -> bool:
        """A node of this name exists without this host's label: take it over."""
        nodes = self._connection.clientset.nodes
        try:
            found = await nodes.get(entry.name)
            previous = found.metadata.labels.get(nodestatus.HOST_LABEL, "")
            if entry.held and previous not in ("", self._host) and nodestatus.is_ready(found):
                self._leave(entry, previous)
                return True
            _log.warning(
                "adopting a node that was registered before",
                extra={"partition": self.name, "node": entry.name, "previous_host": previous},
            )
            await nodes.update(nodestatus.updated(entry.template, entry.name, entry.zone, found))
        except StatusError as error:
            self._count(NodeAction.UPDATE, error, 1)
            self._dirty.add(entry.name)
            return False
        self._count(NodeAction.UPDATE, None, 1)
        return True

    def _leave(self, entry: NodeEntry, host: str) -> None:
        if not entry.settling_until:
            _log.error(
                "another host has taken a node; it is left alone while it is Ready",
                extra={"partition": self.name, "node": entry.name, "host": host},
            )
        entry.settling_until = self._clock.monotonic() + TAKEN_S

    def _created(self, entry: NodeEntry) -> Node:
        return nodestatus.created(entry.template, entry.name, entry.zone, self._clock.time(), entry.boots, entry.health)

    def _updated(self, entry: NodeEntry) -> Node:
        return nodestatus.updated(entry.template, entry.name, entry.zone, self._seen(entry))

    def _reported(self, entry: NodeEntry) -> Node:
        return nodestatus.reported(entry.template, self._seen(entry), self._clock.time(), entry.boots, entry.health)

    def _seen(self, entry: NodeEntry) -> Node:
        # It was there when the action was decided; if it vanished since, the server says NotFound and it is created.
        return self.node(entry.name) or self._created(entry)

    def _count(self, action: NodeAction, error: StatusError | None, nodes: int) -> None:
        outcome = "ok" if error is None else error.reason
        metrics.NODE_REPORTS.labels(self.name, action.value, outcome).inc(nodes)
        if error is not None:
            _log.warning(
                "node write failed",
                extra={"partition": self.name, "action": action.value, "nodes": nodes, "cause": error.message},
            )


def _slices(entries: Sequence[NodeEntry], size: int) -> Iterator[Sequence[NodeEntry]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
