"""A hollow kube-proxy on every node that shall have one: it watches Services and EndpointSlices and keeps a rule table,
as Kubemark's hollow proxy does with a fake iptables. What it is for is the load of its watches and the measure of how
long a change takes to get into a table.

Each node has two watches of its own in every tenant partition and a table of its own; what is in the tables (a rule
set per object) is shared, and an object is decoded once for all nodes of the host.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from services.api import keys
from services.api.kinds import ENDPOINT_SLICES, SERVICES
from services.api.pb.ursa.core.v1.service_pb2 import Service
from services.api.pb.ursa.discovery.v1.endpoint_slice_pb2 import EndpointSlice
from services.base.clock import Clock
from services.client.informer import Accessors, Change, Informer
from services.client.mux import WatchMux
from services.kubelet import metrics

SERVICE_LABEL = "kubernetes.io/service-name"
# Written by whoever makes the slices: when the change that they follow from came about.
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
PROXIES_PER_TURN = 250
_DECODED_MAX = 4096


class Rules(NamedTuple):
    """What one object puts into a table. ``service``: (tenant, namespace, name); ``rules``: chains and targets;
    ``triggered_s``: seconds since the epoch, 0 where it is not told."""

    key: str
    uid: str
    version: int
    service: tuple[str, str, str]
    rules: int
    triggered_s: float = 0.0


_ACCESSORS: Accessors[Rules] = Accessors(attrgetter("key"), attrgetter("uid"), attrgetter("version"))


def of_service(data: bytes) -> Rules:
    """A rule for each port, node port and external address; headless and external services have none (iptables mode,
    ``pkg/proxy/iptables/proxier.go``)."""
    service = Service.FromString(data)
    metadata, spec = service.metadata, service.spec
    rules = 0
    if spec.type != "ExternalName" and spec.cluster_ip != "None":
        addresses = 1 + len(spec.external_ips) + len(service.status.load_balancer.ingress)
        rules = sum(addresses + bool(port.node_port) for port in spec.ports)
    home = (metadata.tenant, metadata.namespace, metadata.name)
    return Rules(keys.key_of(SERVICES, service), metadata.uid, metadata.resource_version, home, rules)


def of_slice(data: bytes) -> Rules:
    """A rule for each port of each endpoint that is ready (an unset condition is: ready)."""
    found = EndpointSlice.FromString(data)
    metadata = found.metadata
    ready = sum(not one.conditions.HasField("ready") or one.conditions.ready for one in found.endpoints)
    home = (metadata.tenant, metadata.namespace, metadata.labels.get(SERVICE_LABEL, ""))
    triggered_s = _time_of(metadata.annotations.get(TRIGGER_ANNOTATION, ""))
    rules = ready * len(found.ports)
    key = keys.key_of(ENDPOINT_SLICES, found)
    return Rules(key, metadata.uid, metadata.resource_version, home, rules, triggered_s)


def _time_of(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


class Decoded:
    """``decode`` for many watches of the same objects: each state is decoded once as long as it is among the last."""

    def __init__(self, decode: Callable[[bytes], Rules]) -> None:
        self._decode = decode
        self._known: OrderedDict[bytes, Rules] = OrderedDict()

    def __call__(self, data: bytes) -> Rules:
        known = self._known.get(data)
        if known is None:
            known = self._known[data] = self._decode(data)
            if len(self._known) > _DECODED_MAX:
                self._known.popitem(last=False)
        return known


class RuleTable:
    """The table of one node: rules of services that have endpoints; one without any is a single rejecting rule."""

    __slots__ = ("_services", "_slices", "rules")

    def __init__(self) -> None:
        self._services: dict[tuple[str, str, str], int] = {}
        # By service: rules of its endpoints in all of its slices.
        self._slices: dict[tuple[str, str, str], int] = {}
        self.rules = 0

    def change_service(self, old: Rules | None, new: Rules | None) -> None:
        home = (new or old or _NOTHING).service
        self.rules -= self._size(home)
        if new is None:
            self._services.pop(home, None)
        else:
            self._services[home] = new.rules
        self.rules += self._size(home)

    def change_slice(self, old: Rules | None, new: Rules | None) -> None:
        for rules, sign in ((old, -1), (new, 1)):
            if rules is None or not rules.service[2]:
                continue  # A slice of no service is nobody's rule.
            self.rules -= self._size(rules.service)
            left = self._slices.get(rules.service, 0) + sign * rules.rules
            if left:
                self._slices[rules.service] = left
            else:
                self._slices.pop(rules.service, None)
            self.rules += self._size(rules.service)

    def _size(self, home: tuple[str, str, str]) -> int:
        own = self._services.get(home, 0)
        return own and own + self._slices.get(home, 0)


_NOTHING = Rules("", "", 0, ("", "", ""), 0)


class _Proxy:
    """One node's: a table and, per tenant partition, two informers."""

    __slots__ = ("informers", "silent", "table")

    def __init__(self) -> None:
        self.table = RuleTable()
        self.informers: dict[str, tuple[Informer[Rules], Informer[Rules]]] = {}
        self.silent = False


class Proxies:
    """The hollow proxies of a host; a node is known by its number, its place among the host's."""

    def __init__(self, clock: Clock) -> None:
        self._proxies: dict[int, _Proxy] = {}
        self._clock = clock
        self._service, self._slice = Decoded(of_service), Decoded(of_slice)

    def __len__(self) -> int:
        return len(self._proxies)

    def add(self, nodes: Iterable[int]) -> None:
        """These nodes shall have one. Before ``follow`` only."""
        self._proxies.update((number, _Proxy()) for number in nodes)

    def table(self, number: int) -> RuleTable:
        """That node's."""
        return self._proxies[number].table

    @property
    def rules(self) -> int:
        """In all tables."""
        return sum(proxy.table.rules for proxy in self._proxies.values())

    async def follow(self, partition: str, mux: WatchMux) -> None:
        """Begin the watches of a tenant partition, or move them to another connection of it."""
        for turn, proxy in enumerate(self._proxies.values(), 1):
            known = proxy.informers.get(partition)
            if known is None:
                self._watch(proxy, partition, mux)
            elif not proxy.silent:
                for informer in known:
                    informer.rebind(mux)
            if turn % PROXIES_PER_TURN == 0:
                await self._clock.sleep(0)

    def leave(self, partition: str) -> None:
        """The partition is gone, and its rules with it."""
        for proxy in self._proxies.values():
            services, slices = proxy.informers.pop(partition, (None, None))
            if services is not None and slices is not None:
                self._forget(proxy, services, slices)

    def pause(self, number: int) -> None:
        """The node is dead or cut off: its proxy hears nothing."""
        proxy = self._proxies.get(number)
        if proxy is not None:
            proxy.silent = True
            for informers in proxy.informers.values():
                for informer in informers:
                    informer.close()

    def resume(self, number: int, muxes: dict[str, WatchMux], *, afresh: bool) -> None:
        """It hears again; ``afresh``: with an empty table."""
        proxy = self._proxies.get(number)
        if proxy is None:
            return
        proxy.silent = False
        for partition, mux in muxes.items():
            known = proxy.informers.get(partition)
            if known is None or afresh:
                if known is not None:
                    self._forget(proxy, *known)
                self._watch(proxy, partition, mux)
            else:
                for informer in known:
                    informer.rebind(mux)

    def _watch(self, proxy: _Proxy, partition: str, mux: WatchMux) -> None:
        services = Informer(
            mux,
            SERVICES,
            tenant="*",
            decode=self._service,
            accessors=_ACCESSORS,
            on_batch=partial(self._services_changed, proxy),
        )
        slices = Informer(
            mux,
            ENDPOINT_SLICES,
            tenant="*",
            decode=self._slice,
            accessors=_ACCESSORS,
            on_batch=partial(self._slices_changed, proxy),
        )
        proxy.informers[partition] = (services, slices)
        if not proxy.silent:
            services.start()
            slices.start()

    def _forget(self, proxy: _Proxy, services: Informer[Rules], slices: Informer[Rules]) -> None:
        for informer, change in ((services, proxy.table.change_service), (slices, proxy.table.change_slice)):
            informer.close()
            for rules in informer.store.values():
                change(rules, None)

    def _services_changed(self, proxy: _Proxy, changes: Sequence[Change[Rules]]) -> None:
        began_s = self._clock.monotonic()
        for change in changes:
            proxy.table.change_service(change.old, change.new)
        metrics.PROXY_SYNC_SECONDS.observe(self._clock.monotonic() - began_s)

    def _slices_changed(self, proxy: _Proxy, changes: Sequence[Change[Rules]]) -> None:
        began_s = self._clock.monotonic()
        for change in changes:
            proxy.table.change_slice(change.old, change.new)
        metrics.PROXY_SYNC_SECONDS.observe(self._clock.monotonic() - began_s)
        now_s, informers = self._clock.time(), proxy.informers.get(changes[0].partition)
        if informers is None or not informers[1].has_synced:
            return  # What was there before the watch began says nothing of how long the way was.
        for change in changes:
            if change.new is not None and change.new.triggered_s:
                metrics.PROXY_PROGRAMMING_SECONDS.observe(max(0.0, now_s - change.new.triggered_s))
