"""Storage keys: ``/ursa/<resource>/<tenant>/<namespace>/<name>``, with the segments that the kind's scope has."""

from __future__ import annotations

from typing import Any

from services.api.kinds import KINDS, Kind, Scope

ROOT = "/ursa/"
EVERY_TENANT = "*"


class InvalidKey(ValueError):
    """A segment is missing, superfluous, or holds a ``/``."""


def key(kind: Kind, tenant: str, namespace: str, name: str) -> str:
    """The key of one object. Raises ``InvalidKey`` if a segment of the kind's scope is empty or holds a ``/``."""
    if kind.scope is Scope.NAMESPACED:
        if not tenant or not namespace or not name or "/" in tenant or "/" in namespace or "/" in name:
            raise InvalidKey(f"{kind.resource}: no key for tenant {tenant!r}, namespace {namespace!r}, name {name!r}")
        return f"/ursa/{kind.resource}/{tenant}/{namespace}/{name}"
    if kind.scope is Scope.TENANT:
        if not tenant or not name or "/" in tenant or "/" in name:
            raise InvalidKey(f"{kind.resource}: no key for tenant {tenant!r}, name {name!r}")
        return f"/ursa/{kind.resource}/{tenant}/{name}"
    if not name or "/" in name:
        raise InvalidKey(f"{kind.resource}: no key for name {name!r}")
    return f"/ursa/{kind.resource}/{name}"


def prefix(kind: Kind, tenant: str = "", namespace: str = "") -> str:
    """The range of a kind, a tenant ("" or "*": all) or a namespace ("": all); always ends with ``/``.

    Raises ``InvalidKey`` for a namespace without a tenant: the key order cannot serve it.
    """
    if "/" in tenant or "/" in namespace:
        raise InvalidKey(f"{kind.resource}: no prefix for tenant {tenant!r}, namespace {namespace!r}")
    every = tenant in ("", EVERY_TENANT) or kind.scope is Scope.CLUSTER
    if kind.scope is not Scope.NAMESPACED or not namespace:
        return f"/ursa/{kind.resource}/" if every else f"/ursa/{kind.resource}/{tenant}/"
    if every:
        raise InvalidKey(f"{kind.resource}: namespace {namespace!r} needs one tenant")
    return f"/ursa/{kind.resource}/{tenant}/{namespace}/"


def parse(text: str) -> tuple[str, str, str, str]:
    """(resource, tenant, namespace, name); segments that the kind has not are "". Raises ``InvalidKey``."""
    segments = text.split("/")
    kind = KINDS.get(segments[2]) if len(segments) > 2 and text.startswith(ROOT) else None
    if kind is None or "" in segments[3:] or len(segments) != _SEGMENTS[kind.scope]:
        raise InvalidKey(f"{text!r} is not a key")
    if kind.scope is Scope.NAMESPACED:
        return kind.resource, segments[3], segments[4], segments[5]
    if kind.scope is Scope.TENANT:
        return kind.resource, segments[3], "", segments[4]
    return kind.resource, "", "", segments[3]


_SEGMENTS = {Scope.CLUSTER: 4, Scope.TENANT: 5, Scope.NAMESPACED: 6}


def key_of(kind: Kind, message: Any) -> str:
    """The key of an object from its metadata."""
    metadata = message.metadata
    return key(kind, metadata.tenant, metadata.namespace, metadata.name)
