"""Hollow kube-proxies: what gets into the tables of the nodes that have one, and how long that takes."""

from __future__ import annotations

import datetime
from typing import Any

from services.api.kinds import ENDPOINT_SLICES, SERVICES
from services.api.pb.ursa.core.v1.service_pb2 import Service
from services.api.pb.ursa.discovery.v1.endpoint_slice_pb2 import EndpointSlice
from services.base.clock import FakeClock
from services.kubelet import metrics
from services.kubelet.machine import Disturbance
from services.kubelet.proxy import TRIGGER_ANNOTATION, RuleTable, of_service, of_slice
from tests.support.kubelet_world import KubeletWorld


def service(name: str = "web", ports: int = 2, tenant: str = "acme", **spec: Any) -> Service:
    made = Service()
    made.metadata.name, made.metadata.namespace, made.metadata.tenant = name, "default", tenant
    for number in range(ports):
        made.spec.ports.add(name=f"p{number}", port=80 + number, protocol="TCP")
    made.spec.cluster_ip = spec.get("cluster_ip", "10.96.0.1")
    return made


def endpoint_slice(name: str = "web-1", of: str = "web", ready: int = 3, ports: int = 2) -> EndpointSlice:
    made = EndpointSlice(address_type="IPv4")
    made.metadata.name, made.metadata.namespace, made.metadata.tenant = name, "default", "acme"
    made.metadata.labels["kubernetes.io/service-name"] = of
    for number in range(ready + 1):
        made.endpoints.add(addresses=[f"10.0.0.{number + 1}"]).conditions.ready = number < ready
    for number in range(ports):
        made.ports.add(name=f"p{number}", port=8080 + number, protocol="TCP")
    return made


def test_a_table_holds_rules_of_services_and_of_their_ready_endpoints() -> None:
    table = RuleTable()
    web, slices = of_service(service().SerializeToString()), of_slice(endpoint_slice().SerializeToString())
    table.change_slice(None, slices)
    assert table.rules == 0, "endpoints of a service that is not there"
    table.change_service(None, web)
    assert table.rules == 2 + 3 * 2
    fewer = of_slice(endpoint_slice(ready=1).SerializeToString())
    table.change_slice(slices, fewer)
    assert table.rules == 2 + 1 * 2
    table.change_service(web, of_service(service(cluster_ip="None").SerializeToString()))
    assert table.rules == 0, "headless services have no rules"
    table.change_service(None, web)
    table.change_slice(fewer, None)
    assert table.rules == 2
    table.change_service(web, None)
    assert table.rules == 0


def programmed() -> tuple[float, float]:
    """Number and sum of the programming latencies so far."""
    samples = {
        s.name: s.value for s in metrics.PROXY_PROGRAMMING_SECONDS.collect()[0].samples if "bucket" not in s.name
    }
    return (
        samples["kubeproxy_network_programming_duration_seconds_count"],
        samples["kubeproxy_network_programming_duration_seconds_sum"],
    )


async def test_every_node_with_a_proxy_has_the_rules_of_all_partitions() -> None:
    world = KubeletWorld(tenant=2, nodes=4, proxy_share=0.5)
    world.tps[0].put(SERVICES, service())
    async with world.running() as host:
        assert len(host.proxies) == 2
        await world.until(lambda: host.proxies.rules == 2 * 2, seconds=2)
        assert world.tps[0].watches == 4 + 2 * 2
        world.tps[1].put(SERVICES, service("other", ports=1, tenant="beta"))
        count, seconds = programmed()
        changed = endpoint_slice()
        changed.metadata.annotations[TRIGGER_ANNOTATION] = _stamp(world.clock, ago_s=2.0)
        world.tps[0].put(ENDPOINT_SLICES, changed)
        await world.until(lambda: host.proxies.rules == 2 * (2 + 6 + 1), seconds=2)
        told, took_s = programmed()
        assert told - count == 2, "once for each node"
        assert 4.0 <= took_s - seconds < 5.0


async def test_a_proxy_hears_nothing_while_its_node_is_cut_off_or_dead() -> None:
    world = KubeletWorld(tenant=1, nodes=2, proxy_share=1.0)
    world.tps[0].put(SERVICES, service())
    async with world.running() as host:
        await world.until(lambda: host.proxies.rules == 4, seconds=2)
        host.disturber.disturb(Disturbance.CUT, nodes=["rp-1-n0000"])
        host.disturber.disturb(Disturbance.DEATH, nodes=["rp-1-n0001"])
        world.tps[0].put(ENDPOINT_SLICES, endpoint_slice())
        world.tps[0].drop_streams()
        await world.clock.advance(30)
        assert host.proxies.rules == 4
        host.disturber.restore()
        await world.until(lambda: host.proxies.table(0).rules == host.proxies.table(1).rules == 8, seconds=15)
        world.tps[0].remove(SERVICES, "web", "acme", "default")
        await world.until(lambda: host.proxies.rules == 0, seconds=2)


def _stamp(clock: FakeClock, *, ago_s: float) -> str:

    return datetime.datetime.fromtimestamp(clock.time() - ago_s, datetime.UTC).isoformat().replace("+00:00", "Z")
