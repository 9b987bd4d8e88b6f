"""The generic servicer: the method table of each kind's gRPC service, from the kinds table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.api.kinds import LEASES, Kind
from services.apiserver import metrics
from services.apiserver.admission import Admission
from services.apiserver.continuation import ContinueTokens
from services.apiserver.errors import translate
from services.apiserver.multiplex import WatchService
from services.apiserver.overload import Overload, OverloadConfig
from services.apiserver.reads import Reads
from services.apiserver.renewals import LeaseRenewals
from services.apiserver.resource import Resource
from services.apiserver.scope import TenantGate
from services.apiserver.watching import Draining, TypedWatch
from services.apiserver.writes import Makers, Writes
from services.rpc import handlers, methods
from services.rpc.handlers import Handler
from services.rpc.server import Server


@dataclass(frozen=True)
class Surroundings:
    """What a servicer needs besides the stores. ``traced``: the process exports traces."""

    partition: str
    gate: TenantGate
    admission: tuple[Admission, ...]
    tokens: ContinueTokens
    makers: Makers
    traced: bool = False
    overload: OverloadConfig = field(default_factory=OverloadConfig)


class ApiServer:
    """All kinds of one partition. ``register`` puts their services on a server; ``drain`` ends all watches."""

    def __init__(self, resources: Mapping[str, Resource], surroundings: Surroundings) -> None:
        self.resources = resources
        self.writes = {
            name: Writes(
                resource,
                surroundings.gate,
                surroundings.admission,
                surroundings.makers,
                traced=surroundings.traced,
            )
            for name, resource in resources.items()
        }
        self._surroundings = surroundings
        self._clock = surroundings.makers.clock
        self._draining = Draining()
        self.overload = Overload(surroundings.overload)

    def register(self, server: Server, extra: Mapping[str, Mapping[str, Handler]] | None = None) -> None:
        """``extra``: further handlers by resource and method name (Pods/Bind)."""
        for name, resource in self.resources.items():
            table = {**self._methods(resource), **(extra or {}).get(name, {})}
            urgent = [method for method in table if self.overload.is_urgent(resource.kind, method)]
            server.add(resource.kind.service, table, urgent)
        around = self._surroundings
        service = WatchService(self.resources, around.gate, self._draining, self.overload, around.makers.rand)
        watch = _counted("WATCH", "*", service.watch)
        server.add(
            methods.WATCH_SERVICE,
            {
                "Watch": handlers.bidi_stream(
                    watch,
                    translate=partial(translate, None),
                    observe=metrics.stream_observer("WATCH", "*"),
                    clock=self._clock,
                )
            },
        )

    def drain(self) -> None:
        """End every open watch with UNAVAILABLE: their clients reconnect elsewhere, or here once it is up again."""
        self._draining.begin()

    @property
    def ready(self) -> Mapping[str, bool]:
        return {name: resource.store.ready for name, resource in self.resources.items()}

    def unary(self, kind: Kind, verb: str, behaviour: handlers.UnaryBehaviour) -> Handler:
        """A unary method of ``kind`` with its errors translated and counted under ``verb``."""
        return handlers.unary(
            behaviour,
            translate=partial(translate, kind),
            observe=metrics.observer(verb, kind.resource),
            clock=self._clock,
            lane=self.overload.lane_of(kind, verb),
        )

    def _methods(self, resource: Resource) -> dict[str, Handler]:
        kind, around = resource.kind, self._surroundings
        reads = Reads(resource, around.gate, around.tokens, self.overload)
        watch = TypedWatch(
            resource,
            around.gate,
            self._draining,
            self._clock,
            around.makers.rand,
            self.overload.bulk,
            self.overload.typed_watches,
            self.overload.watch_readers,
        )
        writes = self.writes[kind.resource]
        table = {
            "Get": self.unary(kind, "GET", reads.get),
            "List": handlers.placed_stream(
                reads.list,
                translate=partial(translate, kind),
                observe=metrics.observer("LIST", kind.resource),
                clock=self._clock,
                lane=self.overload.lists,
            ),
            "Watch": handlers.opening_stream(
                _counted("WATCH", kind.resource, watch.watch),
                translate=partial(translate, kind),
                observe=metrics.stream_observer("WATCH", kind.resource),
                clock=self._clock,
                lane=self.overload.openings,
            ),
        }
        if kind.read_only:
            return table
        table |= {
            "Create": self.unary(kind, "CREATE", writes.create),
            "Update": self.unary(kind, "UPDATE", writes.update),
            "Patch": self.unary(kind, "PATCH", writes.patch),
            "Delete": self.unary(kind, "DELETE", writes.delete),
            "DeleteCollection": self.unary(kind, "DELETECOLLECTION", writes.delete_collection),
            "BatchCreate": self.unary(kind, "BATCHCREATE", writes.batch_create),
            "BatchUpdate": self.unary(kind, "BATCHUPDATE", writes.batch_update),
        }
        if kind.has_status:
            table["UpdateStatus"] = self.unary(kind, "UPDATESTATUS", writes.update_status)
            table["BatchUpdateStatus"] = self.unary(kind, "BATCHUPDATESTATUS", writes.batch_update_status)
        if kind is LEASES:
            renewals = LeaseRenewals(resource, around.gate, self._draining, self.overload.system, self._clock)
            # Each request on the stream is counted as RENEW; CONNECT: the streams.
            table["Renew"] = handlers.bidi_stream(
                _counted("CONNECT", kind.resource, renewals.renew),
                translate=partial(translate, kind),
                observe=metrics.stream_observer("CONNECT", kind.resource),
                clock=self._clock,
            )
        return table


def _counted(verb: str, resource: str, behaviour: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    gauge = metrics.LONG_RUNNING.labels(verb, resource)

    async def call(*arguments: Any) -> None:
        with gauge.track_inprogress():
            await behaviour(*arguments)

    return call
