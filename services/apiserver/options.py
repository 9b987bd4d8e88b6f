"""Options that both partitions' servers share: which kinds stand behind a watch cache."""

from __future__ import annotations

from collections.abc import Iterable

from services.api.kinds import KINDS, Kind
from services.base.config import ConfigError

ALL = "*"


def cached(kind: Kind, off: Iterable[str]) -> bool:
    """Does a watch cache stand before this kind's store? ``off``: resources that have none; ``"*"``: all."""
    return kind.cached and kind.resource not in off and ALL not in off


def caches_off(off: Iterable[str], flags: Iterable[str]) -> tuple[str, ...]:
    """``off`` of the configuration with ``--watch-cache`` flags applied in order: ``off``, ``on``,
    ``<resource>=off``, ``<resource>=on``. Raises ``ConfigError``.
    """
    configured = set(off)
    result = set(KINDS) if ALL in configured else configured
    unknown = result - set(KINDS)
    if unknown:
        raise ConfigError(f"watch_cache.off: no resource {', '.join(sorted(unknown))}; known are {_known()}")
    for flag in flags:
        resource, separator, wanted = flag.rpartition("=")
        if wanted not in ("on", "off") or (separator and resource not in KINDS):
            raise ConfigError(f"--watch-cache {flag}: want off, on or <resource>=off|on; resources are {_known()}")
        named = {resource} if separator else set(KINDS)
        result = result | named if wanted == "off" else result - named
    return tuple(sorted(result))


def _known() -> str:
    return ", ".join(sorted(KINDS))
