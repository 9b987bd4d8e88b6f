"""EndpointSlices: what is filled in, and what is refused with the path of its field."""

from __future__ import annotations

from typing import Any

import pytest

from services.api import defaults, manifests, validation
from services.api.kinds import ENDPOINT_SLICES
from services.cli import columns
from services.cli.context import Partition
from services.cli.items import Item

GOOD: dict[str, Any] = {
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}, "nodeName": "node-1"}],
    "ports": [{"name": "http", "port": 8080}],
}


def made(**fields: Any) -> Any:
    document = {"metadata": {"name": "web-x7k2p", "tenant": "acme", "namespace": "default"}, **GOOD, **fields}
    message = manifests.parse_json(ENDPOINT_SLICES, document)
    defaults.apply(ENDPOINT_SLICES, message)
    return message


def test_ports_are_tcp_and_have_a_name_unless_they_say_otherwise() -> None:
    [port] = made(ports=[{"port": 80}]).ports
    assert (port.protocol, port.HasField("name"), port.name) == ("TCP", True, "")
    assert validation.validate_create(ENDPOINT_SLICES, made()) == []


@pytest.mark.parametrize("addresses", [("IPv6", "2001:db8::1"), ("FQDN", "db.example.com"), ("IPv4", "192.0.2.1")])
def test_addresses_of_each_type(addresses: tuple[str, str]) -> None:
    found = made(addressType=addresses[0], endpoints=[{"addresses": [addresses[1]]}])
    assert validation.validate_create(ENDPOINT_SLICES, found) == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"addressType": ""}, "addressType"),
        ({"addressType": "IPv5"}, "addressType"),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": ["10.0.0.1"] * 101}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": ["10.0.0.1"]}] * 1001}, "endpoints"),
        ({"endpoints": [{"addresses": ["10.0.0.256"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["2001:db8::1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["127.0.0.1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["0.0.0.0"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["169.254.1.1"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["224.0.0.5"]}]}, "endpoints[0].addresses[0]"),
        ({"addressType": "FQDN", "endpoints": [{"addresses": ["db"]}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "hostname": "A_B"}]}, "endpoints[0].hostname"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "No_Node"}]}, "endpoints[0].nodeName"),
        ({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}, "ports[1].name"),
        ({"ports": [{"name": "Aa!", "port": 1}]}, "ports[0].name"),
        ({"ports": [{"port": 0}]}, "ports[0].port"),
        ({"ports": [{"port": 1, "protocol": "ICMP"}]}, "ports[0].protocol"),
        ({"ports": [{"port": 1, "appProtocol": "a b"}]}, "ports[0].appProtocol"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    assert [one.field for one in validation.validate_create(ENDPOINT_SLICES, made(**fields))] == [path]


def test_the_address_type_stays() -> None:
    new = made(addressType="IPv6", endpoints=[])
    assert [one.field for one in validation.validate_update(ENDPOINT_SLICES, new, made(endpoints=[]))] == [
        "addressType"
    ]


def row(**fields: Any) -> list[str]:
    view, partition = columns.View(now=0.0), Partition("tp-1", "tenant", "127.0.0.1:1")
    [found] = columns.rows([Item(ENDPOINT_SLICES, made(**fields), partition)], columns.of(ENDPOINT_SLICES, view), view)
    return found


def test_the_table_is_kubectls() -> None:
    headers = [column.header for column in columns.of(ENDPOINT_SLICES, columns.View(now=0.0))]
    assert headers == ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"]
    assert row()[:4] == ["web-x7k2p", "IPv4", "8080", "10.1.2.3"]
    many = [{"addresses": [f"10.0.0.{number}"]} for number in range(1, 6)]
    ports = [{"name": "dns"}, *({"name": f"p{number}", "port": number} for number in range(1, 4))]
    assert row(endpoints=many, ports=ports)[2:4] == ["dns,1,2 + 1 more...", "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."]
    assert row(endpoints=[], ports=[])[2:4] == ["<unset>", "<unset>"]
