"""Command-line flags of the watch caches."""

from __future__ import annotations

import pytest

from services.api.kinds import EVENTS, KINDS, LEASES, PODS
from services.apiserver.options import cached, caches_off
from services.base.config import ConfigError


def test_flags_apply_in_order_over_the_configuration() -> None:
    assert caches_off(("pods",), ()) == ("pods",)
    assert caches_off((), ("off",)) == tuple(sorted(KINDS))
    assert caches_off(("*",), ("pods=on",)) == tuple(sorted(set(KINDS) - {"pods"}))
    assert caches_off(("pods",), ("leases=off", "pods=on")) == ("leases",)


@pytest.mark.parametrize("flag", ["maybe", "cows=off", "pods=perhaps", "=off"])
def test_a_flag_that_means_nothing_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError):
        caches_off((), (flag,))


def test_a_resource_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="cows"):
        caches_off(("cows",), ())


def test_events_are_never_cached() -> None:
    assert cached(PODS, ()) and not cached(PODS, ("pods",)) and not cached(LEASES, ("*",))
    assert not cached(EVENTS, ())
