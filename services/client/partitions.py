"""Which partitions there are, and one connection to each.

Configuration is the bootstrap: a partition named there is known from the start. After that the partition objects
(``TenantPartition`` in resource partitions, ``ResourcePartition`` in tenant partitions) say it: a new object adds a
partition, changed endpoints replace its connection, a vanished object removes it. A directory that cannot be reached
removes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from services.api.kinds import Kind
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Clientset, Timeouts
from services.client.informer import Change, Informer
from services.client.mux import WatchMux
from services.rpc.channel import make_channel
from services.rpc.credentials import TlsConfig

_log = logging.getLogger(__name__)


class Connection:
    """Channels, typed clients and the watch mux of one partition. ``run`` drives the mux and closes the channels.

    ``gather_s``: how long events of its watches may gather (``WatchMux``).
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[str],
        clock: Clock,
        rand: Rand,
        *,
        tls: TlsConfig | None = None,
        timeouts: Timeouts | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self.channel: grpc.aio.Channel = make_channel(self.endpoints, tls)
        # Lists on a connection of their own, so that nothing large stands in front of live events; opened on first use.
        self.bulk: grpc.aio.Channel = make_channel(self.endpoints, tls)
        self.clientset = Clientset(self.channel, bulk=self.bulk, timeouts=timeouts)
        self.mux = WatchMux(self.channel, clock, rand, partition=name, gather_s=gather_s)

    @property
    def reachable(self) -> bool:
        """A server is there, whether or not it has said anything yet."""
        return self.mux.connected or self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self.mux.run()
        finally:
            await self.close()

    async def close(self) -> None:
        await self.channel.close()
        await self.bulk.close()


OnAdded = Callable[[str, Connection], None]
OnRemoved = Callable[[str], None]
Connect = Callable[[str, Sequence[str]], Connection]


class PartitionDirectory:
    """``connections`` by partition name, kept while ``run`` runs.

    ``on_added(name, connection)``: a partition is new, or its connection was replaced because its endpoints changed
    (then ``on_added`` comes for a name that is known already, and the old connection ends after it returns).
    ``on_removed(name)``: its object has vanished. ``gather_s``: how long events of the partitions' watches may gather.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        bootstrap: Mapping[str, Sequence[str]],
        clock: Clock,
        rand: Rand,
        on_added: OnAdded | None = None,
        on_removed: OnRemoved | None = None,
        tls: TlsConfig | None = None,
        connect: Connect | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self.kind = kind
        self.connections: dict[str, Connection] = {}
        self._bootstrap = {name: tuple(endpoints) for name, endpoints in bootstrap.items()}
        self._on_added = on_added
        self._on_removed = on_removed
        self._connect = connect or (
            lambda name, endpoints: Connection(name, endpoints, clock, rand, tls=tls, gather_s=gather_s)
        )
        # What each source (a partition that holds partition objects) says: source -> name -> endpoints.
        self._said: dict[str, dict[str, tuple[str, ...]]] = {}
        self._informers: dict[str, Informer[Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: Supervisor | None = None

    def follow(self, mux: WatchMux) -> Informer[Any]:
        """Take the partition objects of the partition behind ``mux`` as a source. Several sources are joined."""
        source = mux.partition
        known = self._informers.get(source)
        if known is not None:
            known.rebind(mux)
            return known
        self._said.setdefault(source, {})
        informer: Informer[Any] = Informer(mux, self.kind, on_batch=self._changed)
        self._informers[source] = informer
        return informer.start()

    @property
    def synced(self) -> bool:
        """Some source has told all its partitions: not knowing one now means that it is not there."""
        return any(informer.has_synced for informer in self._informers.values())

    async def run(self) -> None:
        """Keep the connections, until cancelled."""
        try:
            async with Supervisor() as tasks:
                self._tasks = tasks
                for name, endpoints in self._bootstrap.items():
                    self._set(name, endpoints)
                for source in self._said.values():
                    for name in source:
                        self._reconcile(name)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            for informer in self._informers.values():
                informer.close()

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            said = self._said[change.partition]
            if change.new is None:
                name = change.old.metadata.name if change.old is not None else ""
                said.pop(name, None)
                # An object that was seen and has vanished overrules the configuration that first named it.
                self._bootstrap.pop(name, None)
            else:
                name = change.new.metadata.name
                said[name] = tuple(change.new.spec.endpoints)
            self._reconcile(name)

    def _reconcile(self, name: str) -> None:
        if self._tasks is None:
            return
        # Sources that disagree: the first by name, so that every process decides alike.
        endpoints = next((said[name] for _, said in sorted(self._said.items()) if said.get(name)), None)
        endpoints = endpoints or self._bootstrap.get(name)
        if endpoints:
            self._set(name, endpoints)
        else:
            self._drop(name)

    def _set(self, name: str, endpoints: tuple[str, ...]) -> None:
        current = self.connections.get(name)
        if current is not None and current.endpoints == endpoints:
            return
        try:
            connection = self._connect(name, endpoints)
        except ValueError as failure:
            _log.warning("partition has unusable endpoints", extra={"partition": name, "cause": str(failure)})
            return
        assert self._tasks is not None
        previous = self._running.pop(name, None)
        self.connections[name] = connection
        self._running[name] = self._tasks.start(connection.run(), name=f"connection-{name}")
        _log.info("partition connected to", extra={"partition": name, "endpoints": list(endpoints)})
        if self._on_added is not None:
            self._on_added(name, connection)
        if previous is not None:
            previous.cancel()

    def _drop(self, name: str) -> None:
        if self.connections.pop(name, None) is None:
            return
        _log.info("partition removed", extra={"partition": name})
        if self._on_removed is not None:
            self._on_removed(name)
        running = self._running.pop(name, None)
        if running is not None:
            running.cancel()
