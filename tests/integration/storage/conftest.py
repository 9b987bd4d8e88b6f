"""A real etcd for each test that may break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import etcd_binaries
from tests.support.etcd import EtcdProcess, find_binary, running_cluster, running_etcd


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    with running_etcd() as process:
        yield process


@pytest.fixture
def trusted_etcd() -> Iterator[EtcdProcess]:
    """One whose progress responses can be relied on."""
    with running_etcd(binary=_trusted_binary()) as process:
        yield process


@pytest.fixture
def untrusted_etcd(etcd: EtcdProcess) -> EtcdProcess:
    """One whose progress responses must not be relied on."""
    own = etcd_binaries.machines_own()
    assert own is not None
    if etcd_binaries.is_trusted(own):
        pytest.skip(f"this machine's etcd is {etcd_binaries.version_of(own)}, which can be trusted")
    return etcd


@pytest.fixture(params=["own", "trusted"])
def either_etcd(request: pytest.FixtureRequest) -> EtcdProcess:
    process: EtcdProcess = request.getfixturevalue("etcd" if request.param == "own" else "trusted_etcd")
    return process


@pytest.fixture(params=["own", "trusted"])
def cluster(request: pytest.FixtureRequest) -> Iterator[list[EtcdProcess]]:
    """Three members."""
    if find_binary() is None:
        pytest.skip("no etcd binary")
    with running_cluster(binary=None if request.param == "own" else _trusted_binary()) as members:
        yield members


def _trusted_binary() -> str:
    try:
        return etcd_binaries.trusted()
    except etcd_binaries.NotToBeHad as reason:
        pytest.skip(str(reason))
