"""What a query asks for, decided before any store is touched: SEMANTICS of LIST and WATCH as values."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.storage.errors import InvalidQuery
from services.storage.interface import ListQuery, Match, WatchQuery


class Freshness(enum.Enum):
    """How recent a read must be."""

    RECENT = "recent"
    ANY = "any"
    AT_LEAST = "at least"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Plan:
    """``revision`` has a meaning for AT_LEAST and EXACT only."""

    freshness: Freshness
    revision: int = 0


def range_end(prefix: str) -> str:
    """The first key after all keys that begin with ``prefix``, which ends with ``/``."""
    return prefix[:-1] + "0"


def plan_list(query: ListQuery) -> Plan:
    """The table LIST of SEMANTICS (Kubernetes KEP-2523). Raises ``InvalidQuery`` for what contradicts itself."""
    _check_prefix(query.prefix)
    if query.limit < 0:
        raise InvalidQuery("limit", "must not be negative")
    _check_match(query)
    _check_continue(query)
    return _plan(query)


def _plan(query: ListQuery) -> Plan:
    if query.revision is None:
        return Plan(Freshness.RECENT)
    if query.revision == 0:
        return Plan(Freshness.ANY)
    legacy_exact = query.match is Match.UNSET and query.limit > 0
    if query.match is Match.EXACT or legacy_exact:
        return Plan(Freshness.EXACT, query.revision)
    return Plan(Freshness.AT_LEAST, query.revision)


def _check_match(query: ListQuery) -> None:
    _check_revision(query.revision)
    if query.match is not Match.UNSET and query.revision is None:
        raise InvalidQuery("resource_version_match", "forbidden without a resource_version")
    if query.match is Match.EXACT and query.revision == 0:
        raise InvalidQuery("resource_version_match", "Exact is forbidden with resource_version 0")


def _check_continue(query: ListQuery) -> None:
    if not query.start_key:
        return
    if not query.start_key.startswith(query.prefix):
        raise InvalidQuery("continue", "the key to continue from is not in the collection")
    if query.revision is not None and query.match is not Match.EXACT:
        raise InvalidQuery("continue", "a continuation is at exactly one revision, or at the most recent one")


def plan_watch(query: WatchQuery) -> Plan:
    """The state a watch starts from (``wants_state``) or must not start before. Raises ``InvalidQuery``."""
    _check_prefix(query.prefix)
    _check_revision(query.revision)
    if query.revision is None:
        return Plan(Freshness.RECENT)
    if query.revision == 0:
        return Plan(Freshness.ANY)
    return Plan(Freshness.AT_LEAST if query.initial_events else Freshness.EXACT, query.revision)


def wants_state(query: WatchQuery) -> bool:
    """The watch begins with the current state as ADDED events."""
    if query.initial_events is not None:
        return query.initial_events
    return not query.revision


def _check_prefix(prefix: str) -> None:
    if not prefix.endswith("/"):
        raise InvalidQuery("prefix", "must end with /")


def _check_revision(revision: int | None) -> None:
    if revision is not None and revision < 0:
        raise InvalidQuery("resource_version", "must not be negative")
