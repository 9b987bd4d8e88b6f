"""A tenant partition as a host follows it: one link for what its kubelets say, a watch per node for what they hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from services.api.kinds import PODS
from services.base.clock import Clock
from services.client.informer import Change, Informer
from services.client.partitions import Connection
from services.kubelet.kept import ACCESSORS, Kept, keeping
from services.kubelet.machine import Machine
from services.kubelet.tenantlink import TenantLink

# Watches begun before other tasks get a turn.
WATCHES_PER_TURN = 500

_KEEP_POD = keeping(PODS)

OnPods = Callable[[Machine, str, Sequence[Change[Kept]]], None]
OnListed = Callable[[Machine, str], None]


class Tenancy:
    """``machines`` are all of the host's. ``on_pods(machine, partition, changes)``; ``on_listed(machine, partition)``:
    the machine's watch has told all of its pods (again)."""

    def __init__(
        self,
        connection: Connection,
        link: TenantLink,
        machines: Sequence[Machine],
        *,
        on_pods: OnPods,
        on_listed: OnListed,
        clock: Clock,
    ) -> None:
        self.connection = connection
        self.link = link
        self.informers: list[Informer[Kept]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._machines = machines
        self._on_pods = on_pods
        self._on_listed = on_listed
        self._clock = clock
        self._synced = False

    @property
    def synced(self) -> bool:
        """Every node's pods have been listed once (those of disturbed nodes may wait); it stays so."""
        if not self._synced:
            self._synced = len(self.informers) == len(self._machines) and all(
                informer.has_synced or machine.trouble is not None
                for informer, machine in zip(self.informers, self._machines, strict=True)
            )
        return self._synced

    async def follow(self) -> None:
        """Begin the watches."""
        for number, machine in enumerate(self._machines, 1):
            informer = self._informer(machine)
            self.informers.append(informer)
            if machine.trouble is None:
                informer.start()
            if number % WATCHES_PER_TURN == 0:
                await self._clock.sleep(0)

    def use(self, connection: Connection) -> None:
        """The partition has other endpoints now."""
        self.connection = connection
        self.link.use(connection)
        for informer, machine in zip(self.informers, self._machines, strict=False):
            if machine.trouble is None:
                informer.rebind(connection.mux)

    def hold(self, task: asyncio.Task[None]) -> None:
        """``task`` ends with the partition, if it has not ended before."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """The partition is gone: its pods with it."""
        for task in tuple(self._tasks):
            task.cancel()
        for informer, machine in zip(self.informers, self._machines, strict=False):
            informer.close()
            gone: list[Change[Kept]] = [Change(key, kept, None, self.link.name) for key, kept in informer.store.items()]
            self._on_pods(machine, self.link.name, gone)

    # One machine's watch.

    def pause(self, machine: Machine) -> None:
        """It hears nothing more."""
        if machine.number < len(self.informers):
            self.informers[machine.number].close()

    def resume(self, machine: Machine, *, afresh: bool) -> None:
        """It hears again, from where it stood; ``afresh``: it remembers nothing and lists."""
        if machine.number >= len(self.informers):
            return
        if afresh:
            self.informers[machine.number] = self._informer(machine).start()
        else:
            self.informers[machine.number].rebind(self.connection.mux)

    def _informer(self, machine: Machine) -> Informer[Kept]:
        """The machine's own pods, of every tenant."""
        return Informer(
            self.connection.mux,
            PODS,
            tenant="*",
            field_selector=f"spec.nodeName={machine.name},spec.resourcePartition={machine.resource_partition}",
            decode=_KEEP_POD,
            accessors=ACCESSORS,
            on_batch=partial(self._on_pods, machine, self.link.name),
            on_state=partial(self._state, machine),
        )

    def _state(self, machine: Machine, informer: Informer[Kept]) -> None:
        if informer.connected:
            self._on_listed(machine, self.link.name)
