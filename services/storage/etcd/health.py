"""Watching over etcd: does it answer, which versions are its members."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import grpc

from services.base.clock import Clock
from services.storage.etcd import metrics, versions
from services.storage.etcd.calls import Calls
from services.storage.etcd.channel import make_channel
from services.storage.etcd.config import EtcdConfig
from services.storage.etcd.status import EtcdMember, EtcdStatus

_log = logging.getLogger(__name__)

_UP_S, _DOWN_S = 5.0, 0.5
_ASK_S = 2.0


class Health:
    """``up``: etcd answered the last time, through a member that has a leader. ``progress_trusted``: every member's
    version gives progress to rely on.
    """

    def __init__(self, calls: Calls, config: EtcdConfig, clock: Clock) -> None:
        self._calls = calls
        self._config = config
        self._clock = clock
        self.up = False
        self.progress_trusted = False
        self.first_up = asyncio.Event()
        self._warned = False
        self._warnings: tuple[str, ...] = ()

    async def run(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(_UP_S if self.up else _DOWN_S)

    async def look(self) -> None:
        """Ask once."""
        try:
            status = await self._status_of_any()
        except grpc.aio.AioRpcError as failure:
            self._down("%s: %s", failure.code().name, failure.details())
            return
        if not status.has_leader:
            self._down("its member has no leader: it is cut off from the others, or there is no majority")
            return
        if not self.up:
            _log.info("etcd %s answers, revision %d", status.version, status.revision)
        if status.warnings != self._warnings:
            self._warnings = status.warnings
            for text in status.warnings:
                _log.warning("%s", text)
        self.progress_trusted = status.progress_trusted
        self.up = True
        self.first_up.set()
        metrics.DB_BYTES.set(status.db_size_bytes)

    def _down(self, cause: str, *parts: object) -> None:
        if self.up or not self._warned:
            _log.warning("etcd does not answer: " + cause, *parts)
        self.up, self._warned = False, True
        # After an outage the members may be others: progress is believed again when they have been asked.
        self.progress_trusted = False

    async def _status_of_any(self) -> EtcdStatus:
        """One member that follows a leader is enough: through it everything can be read and written.

        Status costs nothing and tells that as well as a quorum read, but for an election timeout after the leader is
        lost. A member that refuses (it has no leader) or is unreachable is left by the channel, so to ask again is to
        ask another; to wait for several silent ones would take too long.
        """
        for _ in self._config.endpoints[1:]:
            try:
                return await self.status()
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        return await self.status()

    async def status(self) -> EtcdStatus:
        """Raises ``grpc.aio.AioRpcError`` if etcd does not answer at all."""
        mine = await self._calls.status()
        listed = (await self._calls.members()).members
        members = await asyncio.gather(*(self._member(member, mine) for member in listed))
        found = {member.version for member in members}
        return EtcdStatus(
            version=mine.version,
            revision=mine.header.revision,
            db_size_bytes=mine.dbSize,
            db_in_use_bytes=mine.dbSizeInUse,
            leader=next((member.name for member in members if member.leader), ""),
            has_leader=mine.leader != 0,
            members=tuple(members),
            progress_trusted=versions.progress_trusted(member.version for member in members),
            warnings=(*filter(None, map(versions.warning, sorted(found))), *map(_alarm, mine.errors)),
        )

    async def _member(self, member: Any, mine: Any) -> EtcdMember:
        version = mine.version if mine.header.member_id == member.ID else await self._version(member)
        return EtcdMember(member.name, member.ID, tuple(member.clientURLs), version, mine.leader == member.ID)

    async def _version(self, member: Any) -> str:
        """The version of a member other than the one that is connected to; "" if it cannot be asked."""
        endpoints = tuple(urlsplit(url).netloc for url in member.clientURLs if "://" in url)
        if not endpoints:
            return ""
        async with make_channel(endpoints[:1], self._config) as channel:
            try:
                return str((await Calls(channel, self._clock, _ASK_S).status()).version)
            except grpc.aio.AioRpcError:
                return ""


def _alarm(text: str) -> str:
    if "NOSPACE" in text:
        return f"etcd is full ({text}): delete something, then compact, defragment and disarm the alarm"
    return f"etcd: {text}"
