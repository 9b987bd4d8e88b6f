"""Backends and stores over an etcd that is about to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from services.base.clock import SystemClock
from services.base.rand import Rand
from services.storage.errors import StorageError
from services.storage.etcd import EtcdBackend, EtcdConfig
from services.storage.etcd.store import EtcdStore
from services.storage.interface import Record, Write
from services.storage.testing.world import attributes_of
from services.storage.watchcache import CachedStore

PREFIX = "/ursa/pods/"


def key(name: str) -> str:
    return f"{PREFIX}acme/default/{name}"


@contextlib.asynccontextmanager
async def backend_of(*endpoints: str, **config: Any) -> AsyncIterator[EtcdBackend]:
    """Ready or not."""
    async with EtcdBackend(EtcdConfig(endpoints, **config), clock=SystemClock(), rand=Rand()) as backend:
        yield backend


@contextlib.asynccontextmanager
async def store_of(endpoint: str, **config: Any) -> AsyncIterator[EtcdStore]:
    async with backend_of(endpoint, **config) as backend:
        await backend.wait_ready()
        yield backend.store(PREFIX, attributes_of)


@contextlib.asynccontextmanager
async def cached_over(store: EtcdStore) -> AsyncIterator[CachedStore]:
    cached = CachedStore(
        store, prefix=PREFIX, attributes_of=attributes_of, index="spec.nodeName", clock=SystemClock(), rand=Rand()
    )
    async with cached.running():
        await cached.wait_ready()
        yield cached


async def insist(store: object, write: Write) -> Record:
    """Write until it is acknowledged: for what is only a preparation, whatever patience the store has."""
    async with asyncio.timeout(20):
        while True:
            try:
                record = await store.write(write)  # type: ignore[attr-defined]
                assert isinstance(record, Record)
                return record
            except StorageError:
                await asyncio.sleep(0.05)
