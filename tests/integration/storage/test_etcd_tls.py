"""etcd over TLS, with client certificates: it is used as any other, and by nobody whom it does not know."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.api.selectors import EVERYTHING
from services.storage.errors import Unavailable
from services.storage.interface import ListQuery, WatchQuery, Write
from services.storage.testing.world import next_events, pod
from tests.integration.storage.helpers import PREFIX, backend_of, cached_over, key, store_of
from tests.support.certificates import Authority, NotToBeHad, Pair
from tests.support.etcd import EtcdProcess, find_binary, free_port

pytestmark = pytest.mark.etcd

PORTS = range(21_400, 21_600)


@dataclass(frozen=True)
class Secured:
    """A member that listens on two ports, and who may speak to it."""

    endpoints: tuple[str, str]
    ca_file: str
    known: Pair
    stranger: Pair
    other_ca_file: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    directory = tmp_path_factory.mktemp("tls")
    try:
        ours, theirs = Authority(directory, "ours"), Authority(directory, "theirs")
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    server = ours.sign("etcd", "IP:127.0.0.1,DNS:etcd.example")
    endpoints = (f"127.0.0.1:{free_port(PORTS)}", f"127.0.0.1:{free_port(PORTS)}")
    urls = ",".join(f"https://{endpoint}" for endpoint in endpoints)
    flags = (
        f"--listen-client-urls={urls}",
        f"--advertise-client-urls={urls}",
        f"--cert-file={server.cert_file}",
        f"--key-file={server.key_file}",
        f"--trusted-ca-file={ours.ca_file}",
        "--client-cert-auth",
    )
    process = EtcdProcess(free_port(PORTS), free_port(PORTS), extra=flags)
    try:
        process.start(wait_s=0)
        yield Secured(endpoints, ours.ca_file, ours.sign("ursa"), theirs.sign("stranger"), theirs.ca_file)
    finally:
        process.remove()


async def test_everything_goes_over_tls(secured: Secured) -> None:
    known = {"ca_file": secured.ca_file, "cert_file": secured.known.cert_file, "key_file": secured.known.key_file}
    async with (
        asyncio.timeout(30),
        store_of(secured.endpoints[0], **known) as store,
        cached_over(store) as cached,
    ):
        watcher = await cached.watch(WatchQuery(PREFIX, EVERYTHING, 0, initial_events=False))
        record = await cached.write(Write(key("secret"), pod("secret"), 0))
        assert record is not None
        assert list((await cached.list(ListQuery(PREFIX, EVERYTHING))).records) == [record]
        assert await next_events(watcher, 1) == [("ADDED", "secret", record.revision)]
        await cached.write(Write(record.key, None, record.revision))


@pytest.mark.parametrize("name", ["", "127.0.0.1", "etcd.example"])
async def test_several_members_share_a_name(secured: Secured, name: str) -> None:
    known = {"ca_file": secured.ca_file, "cert_file": secured.known.cert_file, "key_file": secured.known.key_file}
    async with asyncio.timeout(30), backend_of(*secured.endpoints, server_name=name, **known) as backend:
        await backend.wait_ready()


async def test_a_member_of_another_name_is_not_believed(secured: Secured) -> None:
    known = {"ca_file": secured.ca_file, "cert_file": secured.known.cert_file, "key_file": secured.known.key_file}
    config = {"server_name": "another.example", "request_timeout_s": 1.0, **known}
    async with asyncio.timeout(30), backend_of(*secured.endpoints, **config) as backend:
        with pytest.raises(Unavailable):
            await backend.status()


@pytest.mark.parametrize("who", ["without a certificate", "a stranger", "who trusts another authority", "without TLS"])
async def test_others_are_not_let_in(secured: Secured, who: str) -> None:
    config = {
        "without a certificate": {"ca_file": secured.ca_file},
        "a stranger": {
            "ca_file": secured.ca_file,
            "cert_file": secured.stranger.cert_file,
            "key_file": secured.stranger.key_file,
        },
        "who trusts another authority": {
            "ca_file": secured.other_ca_file,
            "cert_file": secured.known.cert_file,
            "key_file": secured.known.key_file,
        },
        "without TLS": {},
    }[who]
    async with asyncio.timeout(30), backend_of(secured.endpoints[0], request_timeout_s=1.0, **config) as backend:
        with pytest.raises(Unavailable):
            await backend.status()


async def test_a_certificate_that_cannot_be_read_is_named(secured: Secured, tmp_path: pathlib.Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(OSError, match=r"missing\.pem"):
        async with backend_of(secured.endpoints[0], ca_file=missing):
            pass
