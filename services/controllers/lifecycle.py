"""Namespace and tenant lifecycle: what is being deleted is emptied first, then let go.

A namespace that is Terminating loses its content (pods gracefully, everything else at once), then its finalizer. A
tenant loses its namespaces, then what else it holds, then its placement and its finalizer.
Source: kube-controller-manager ``pkg/controller/namespace/deletion``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.base.tasks import first_of
from services.rpc.status import StatusError

_LOG = logging.getLogger(__name__)

# A create that was admitted just before its namespace began to terminate is stored within this time.
SETTLE_S = 2
# How often content that ends gracefully is looked at again.
RECHECK_S = 0.5

PODS, NAMESPACES, PRIORITY_CLASSES = "pods", "namespaces", "priorityclasses"


class Port(Protocol):
    """The partition, as far as lifecycle goes. Every method may raise ``StatusError``."""

    @property
    def namespaced(self) -> Sequence[str]:
        """Resources that live in namespaces here."""
        ...

    def changes(self) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """A function that returns when a namespace or tenant may have changed."""
        ...

    async def namespaces(self) -> Sequence[Any]: ...

    async def tenants(self) -> Sequence[Any]: ...

    async def remaining(self, resource: str, tenant: str, namespace: str) -> Sequence[str]:
        """Keys of what is left."""
        ...

    async def delete(self, resource: str, found: list[str]) -> None:
        """Delete the objects at these keys, pods gracefully; what is being deleted already is left alone."""
        ...

    async def finalize_namespace(self, tenant: str, name: str, uid: str) -> None: ...

    async def finalize_tenant(self, name: str, uid: str) -> None: ...

    async def ensure_default_namespace(self, tenant: str) -> None: ...


@dataclass(frozen=True)
class Terminating:
    """A namespace (``tenant`` and ``name``) or a tenant (``tenant`` alone) that is to go, and what it still holds.

    ``content``: keys by resource, without what is empty. ``since_s``: seconds since its deletion was asked for.
    """

    tenant: str
    name: str
    uid: str
    since_s: float
    content: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Delete:
    resource: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Finalize:
    """Nothing is left: let it go."""


Action = Delete | Finalize


def decide(state: Terminating) -> list[Action]:
    """What to do now; nothing means look again later.

    A tenant's namespaces go before everything else it holds, for their pods may still need the rest.
    """
    if NAMESPACES in state.content:
        return [Delete(NAMESPACES, tuple(state.content[NAMESPACES]))]
    if state.content:
        return [Delete(resource, tuple(keys)) for resource, keys in sorted(state.content.items()) if keys]
    return [Finalize()] if state.since_s >= SETTLE_S else []


class LifecycleController:
    """The loop: looks whenever a namespace or tenant changes, and every half second while something terminates."""

    def __init__(self, port: Port, clock: Clock, rand: Rand) -> None:
        self._port = port
        self._clock = clock
        self._backoff = Backoff(rand, initial_s=0.2, maximum_s=5.0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._port.changes() as changed:
                    await self._follow(changed)
            except StatusError as failure:
                _LOG.info("lifecycle waits", extra={"why": failure.message})
            await self._clock.sleep(self._backoff.next())

    async def _follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        while True:
            busy = await self.once()
            self._backoff.reset()
            if busy:
                await first_of(self._clock.sleep(RECHECK_S), changed())
            else:
                await changed()

    async def once(self) -> bool:
        """Look at everything once; True while something still terminates. Raises ``StatusError``."""
        tenants, namespaces = await asyncio.gather(self._port.tenants(), self._port.namespaces())
        going = [tenant for tenant in tenants if tenant.metadata.HasField("deletion_timestamp")]
        for tenant in tenants:
            if not tenant.metadata.HasField("deletion_timestamp"):
                await self._port.ensure_default_namespace(tenant.metadata.name)
        busy = False
        for namespace in namespaces:
            if namespace.metadata.HasField("deletion_timestamp"):
                busy = True
                await self._work(await self._namespace(namespace))
        for tenant in going:
            busy = True
            await self._work(await self._tenant(tenant))
        return busy

    async def _namespace(self, namespace: Any) -> Terminating:
        metadata = namespace.metadata
        content = {
            resource: await self._port.remaining(resource, metadata.tenant, metadata.name)
            for resource in self._port.namespaced
        }
        return self._state(metadata.tenant, metadata.name, metadata, content)

    async def _tenant(self, tenant: Any) -> Terminating:
        name = tenant.metadata.name
        content = {
            resource: await self._port.remaining(resource, name, "") for resource in (NAMESPACES, PRIORITY_CLASSES)
        }
        return self._state(name, "", tenant.metadata, content)

    def _state(self, tenant: str, name: str, metadata: Any, content: Mapping[str, Sequence[str]]) -> Terminating:
        since_s = self._clock.time() - metadata.deletion_timestamp.seconds
        held = {resource: keys for resource, keys in content.items() if keys}
        return Terminating(tenant, name, metadata.uid, since_s, held)

    async def _work(self, state: Terminating) -> None:
        for action in decide(state):
            match action:
                case Delete(resource, keys):
                    await self._port.delete(resource, list(keys))
                case Finalize() if state.name:
                    await self._port.finalize_namespace(state.tenant, state.name, state.uid)
                    _LOG.info("namespace removed", extra={"tenant": state.tenant, "namespace": state.name})
                case Finalize():
                    await self._port.finalize_tenant(state.tenant, state.uid)
                    _LOG.info("tenant removed", extra={"tenant": state.tenant})
