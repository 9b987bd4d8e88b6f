"""Objects as a host keeps them: their bytes, and what an informer has to know of them. A tenth of the decoded message.

A pod or a node is looked at seldom, takes under 2 µs to decode, and five kilobytes once decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from services.api import keys
from services.api.kinds import Kind
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.client.informer import Accessors, Change


class Kept:
    """``data``: the object in wire form; ``key``: where it is stored."""

    __slots__ = ("data", "key", "uid", "version")

    def __init__(self, data: bytes, key: str, uid: str, version: int) -> None:
        self.data = data
        self.key = key
        self.uid = uid
        self.version = version


ACCESSORS: Accessors[Kept] = Accessors(attrgetter("key"), attrgetter("uid"), attrgetter("version"))


def pods_of(changes: Sequence[Change[Kept]]) -> list[Change[Pod]]:
    """The same with pods decoded."""
    return [Change(key, _pod(old), _pod(new), partition) for key, old, new, partition in changes]


def _pod(kept: Kept | None) -> Pod | None:
    return None if kept is None else Pod.FromString(kept.data)


def keeping(kind: Kind) -> Callable[[bytes], Kept]:
    """For informers of ``kind``: their ``decode``."""
    message_type: Any = kind.message

    def keep(data: bytes) -> Kept:
        message = message_type.FromString(data)
        metadata = message.metadata
        return Kept(data, keys.key_of(kind, message), metadata.uid, metadata.resource_version)

    return keep
