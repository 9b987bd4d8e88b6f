"""The partitions of a cluster as one thing to ask: who serves a tenant or a kind, and asking several at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

from services.api import kinds
from services.api.kinds import Kind
from services.cli.context import Context, Partition
from services.cli.errors import CliError, PartitionUnreachable, Refused, UsageError
from services.client.clientset import Clientset, Timeouts
from services.client.placement import rendezvous
from services.rpc.channel import make_channel
from services.rpc.status import StatusError

T = TypeVar("T")

SYSTEM_TENANT = "system"
ALL_TENANTS = "*"
# A person waits: shorter than what components allow themselves, long enough for a loaded server.
TIMEOUTS = Timeouts(unary_s=10.0, batch_s=30.0, list_s=60.0)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What one partition said: ``value``, or ``failure`` when it did not answer."""

    partition: Partition
    value: T | None = None
    failure: StatusError | None = None


class Cluster:
    """Connections to partitions, made on first use and closed with the ``async with`` block.

    ``forced`` is the one partition that every request goes to, for seeing what it says; None: the right one.
    """

    def __init__(self, context: Context, *, forced: str = "", timeouts: Timeouts = TIMEOUTS) -> None:
        self.context = context
        self.forced = context.partition(forced) if forced else None
        self._timeouts = timeouts
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._clients: dict[str, Clientset] = {}
        self._places: dict[str, Partition] = {}

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: Any) -> None:
        for channel in self._channels.values():
            await channel.close()

    def clients(self, partition: Partition) -> Clientset:
        """The clients of one partition."""
        if partition.endpoint not in self._clients:
            channel = make_channel([partition.endpoint])
            self._channels[partition.endpoint] = channel
            self._clients[partition.endpoint] = Clientset(channel, timeouts=self._timeouts)
        return self._clients[partition.endpoint]

    async def place_of(self, tenant: str) -> Partition:
        """The tenant partition of ``tenant``. Raises ``Refused`` for an unknown tenant, saying how to make it."""
        if self.forced:
            return self.forced
        if tenant not in self._places:
            self._places[tenant] = await self._look_up(tenant)
        return self._places[tenant]

    async def _look_up(self, tenant: str) -> Partition:
        try:
            placement = await self.clients(self.context.home).tenant_placements.get(tenant)
        except StatusError as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                raise await self._unknown(tenant) from None
            if not is_unreachable(failure):
                raise
            return await self._search(tenant)
        return self._named(placement.spec.tenant_partition)

    async def place_for_new(self, tenant: str) -> Partition:
        """Where a new tenant goes: where it is placed already (a create was cut short), else by rendezvous."""
        if self.forced:
            return self.forced
        with contextlib.suppress(StatusError):
            placement = await self.clients(self.context.home).tenant_placements.get(tenant)
            return self._named(placement.spec.tenant_partition)
        return self._named(rendezvous(tenant, [partition.name for partition in self.context.tenant_partitions]))

    async def targets(self, kind: Kind, tenant: str) -> list[Partition]:
        """Every partition to ask for objects of ``kind``; ``tenant`` is a name, "*", or "" for cluster-scoped kinds."""
        if self.forced:
            return [self.forced]
        if kind in (kinds.TENANT_PLACEMENTS, kinds.TENANT_PARTITIONS):
            return [self.context.home]
        if kind.tenant_scoped and tenant not in (ALL_TENANTS, SYSTEM_TENANT):
            if not kind.served_by(kinds.TENANT_PARTITION):
                raise Refused(f"{kind.resource} belong to no tenant but {SYSTEM_TENANT}")
            return [await self.place_of(tenant)]
        return [partition for partition in self.context.partitions if kind.served_by(partition.kind)]

    async def each(
        self, partitions: Sequence[Partition], ask: Callable[[Partition, Clientset], Coroutine[Any, Any, T]]
    ) -> list[Answer[T]]:
        """Ask them all at once. A partition that cannot be reached is an answer; a refusal raises ``StatusError``."""

        async def one(partition: Partition) -> Answer[T] | StatusError:
            try:
                return Answer(partition, await ask(partition, self.clients(partition)))
            except StatusError as failure:
                return Answer(partition, failure=failure) if is_unreachable(failure) else failure

        answers = await asyncio.gather(*(one(partition) for partition in partitions))
        for answer in answers:
            if isinstance(answer, StatusError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Answer)]

    async def following(self, partition: Partition, ask: Callable[[Clientset], Awaitable[T]]) -> tuple[Partition, T]:
        """Ask ``partition``; when it names another as the right one, ask that, once. Who answered, and what."""
        try:
            return partition, await ask(self.clients(partition))
        except StatusError as failure:
            if failure.reason != "WrongPartition" or self.forced:
                raise
            right = self.right_one(failure)
            return right, await ask(self.clients(right))

    def right_one(self, wrong: StatusError) -> Partition:
        """The partition that a WrongPartition refusal names; one that the context does not know is taken as told."""
        name, endpoint = wrong.metadata.get("partition", ""), wrong.metadata.get("endpoint", "")
        for partition in self.context.tenant_partitions:
            if partition.name == name:
                return partition
        if not endpoint:
            raise wrong
        return Partition(name, "tenant", endpoint)

    async def tenants(self) -> list[str]:
        """The names of all tenants that reachable partitions know, in order."""
        answers = await self.each(self.context.tenant_partitions, lambda _, clients: clients.tenants.list())
        return sorted({item.metadata.name for answer in answers if answer.value for item in answer.value.items})

    def _named(self, name: str) -> Partition:
        for partition in self.context.tenant_partitions:
            if partition.name == name:
                return partition
        raise UsageError(f"the context does not know tenant partition {name!r}", hint="is --context the right file?")

    async def _search(self, tenant: str) -> Partition:
        """The placement home is down: the partition that holds the Tenant itself is the right one."""
        answers = await self.each(self.context.tenant_partitions, lambda _, clients: _holds(clients, tenant))
        for answer in answers:
            if answer.value:
                return answer.partition
        unreachable = [self.context.home.name, *(answer.partition.name for answer in answers if answer.failure)]
        raise PartitionUnreachable(
            f'cannot tell where tenant "{tenant}" lives: {", ".join(unreachable)} did not answer',
            hint="see `ursa status`",
        )

    async def _unknown(self, tenant: str) -> CliError:
        known: list[str] = []
        with contextlib.suppress(CliError, StatusError):
            known = [name for name in await self.tenants() if name != SYSTEM_TENANT]
        listed = f"; tenants: {', '.join(known[:20])}" if known else ""
        return Refused(f'tenant "{tenant}" does not exist', hint=f"make it with `ursa create tenant {tenant}`{listed}")


async def _holds(clients: Clientset, tenant: str) -> bool:
    try:
        await clients.tenants.get(tenant)
    except StatusError as failure:
        if failure.code is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


def is_unreachable(failure: StatusError) -> bool:
    """Whether nobody answered, or the partition's store did not: another partition may still be fine."""
    return failure.code is grpc.StatusCode.UNAVAILABLE or (
        failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and failure.reason != "ResourceVersionTooLarge"
    )


def explain(failure: StatusError, *, partition: Partition | None = None) -> CliError:
    """A server's refusal in kubectl's words."""
    where = f"{partition.name} ({partition.endpoint})" if partition else "the partition"
    if is_unreachable(failure):
        return PartitionUnreachable(f"{where} cannot be reached: {why(failure)}", hint="see `ursa status`")
    return Refused(f"from server ({failure.reason}): {failure.message}")


def why(failure: StatusError) -> str:
    """What to say of a partition that did not answer: gRPC's own texts repeat themselves over several lines."""
    if "Connection refused" in failure.message:
        return "connection refused"
    if "SETTINGS" in failure.message:  # connected, and then nothing: a process that hangs
        return "it does not answer"
    return failure.message.split(" {")[0]
