"""A real etcd for each test that may break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.etcd import EtcdProcess, find_binary, running_etcd


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    if find_binary() is None:
        pytest.skip("no etcd binary")
    with running_etcd() as process:
        yield process
