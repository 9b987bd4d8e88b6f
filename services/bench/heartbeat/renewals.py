"""How many renewals there were, as three sides count them, and how long each request took."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.base.clock import Clock
from services.bench.heartbeat import leases
from services.bench.histograms import Histogram
from services.bench.observe.scraping import Scraper, summed

ITEMS = "ursa_apiserver_batch_items_total"
REQUEST_SECONDS = "apiserver_request_duration_seconds"
ACKNOWLEDGED = "kubelet_lease_renewals_total"
# How kubelets may renew, the most telling first: on the stream for it, or with what every client has.
VERBS = ("RENEW", "BATCH_UPDATE", "UPDATE", "PATCH")


@dataclass(frozen=True)
class Counted:
    """``acknowledged``: renewals that kubelets were told are stored, ``failed``: that failed at first; ``served``:
    items of batches and streams of leases that servers took; ``stored``: writes of each node's lease, by etcd.
    ``seconds``: of the servers' requests, a whole message each; ``verb``: which. ``stored_s``: between the two readings
    of etcd, ``counted_s``: between those of all others; tens of thousands of leases take a while to read."""

    acknowledged: float
    failed: float
    served: float
    stored: Mapping[str, int]
    seconds: Histogram
    verb: str
    stored_s: float
    counted_s: float


class Counting:
    """From ``begin`` to ``end``; host:port of servers, kubelet hosts and etcds."""

    def __init__(self, servers: Sequence[str], hosts: Sequence[str], etcds: Sequence[str], clock: Clock) -> None:
        self._servers = [Scraper(address, (ITEMS,), (REQUEST_SECONDS,)) for address in servers]
        self._hosts = [Scraper(address, (ACKNOWLEDGED,)) for address in hosts]
        self._etcds = etcds
        self._clock = clock
        self._stored_from = self._counted_from = 0.0
        self._before: Sequence[leases.Versions] = ()

    async def begin(self) -> None:
        """Raises ``OSError``. What kubelets are told after their reading here is stored after etcd's: so is it read."""
        self._stored_from = self._clock.monotonic()
        self._before = await asyncio.gather(*(leases.versions(address) for address in self._etcds))
        self._counted_from = self._clock.monotonic()
        await asyncio.gather(*(scraper.scrape() for scraper in (*self._servers, *self._hosts)))

    async def end(self) -> Counted:
        """Raises ``OSError``."""
        counted_s = self._clock.monotonic() - self._counted_from
        await asyncio.gather(*(scraper.scrape() for scraper in (*self._hosts, *self._servers)))
        stored_s = self._clock.monotonic() - self._stored_from
        after = await asyncio.gather(*(leases.versions(address) for address in self._etcds))
        stored = leases.merged(leases.writes(*pair) for pair in zip(self._before, after, strict=True))
        verb, seconds = self._seconds()
        ok, every, served = (
            sum(summed(scraper.total.counters, name, **labels) for scraper in scrapers)
            for scrapers, name, labels in (
                (self._hosts, ACKNOWLEDGED, {"outcome": "ok"}),
                (self._hosts, ACKNOWLEDGED, {}),
                (self._servers, ITEMS, {"resource": "leases"}),
            )
        )
        return Counted(ok, every - ok, served, stored, seconds, verb, stored_s, counted_s)

    def _seconds(self) -> tuple[str, Histogram]:
        for verb in VERBS:
            found = Histogram()
            for scraper in self._servers:
                for (name, labels), histogram in scraper.total.histograms.items():
                    if name == REQUEST_SECONDS and {("verb", verb), ("resource", "leases")} <= set(labels):
                        found.add(histogram)
            if found.count:
                return verb, found
        return "", Histogram()
