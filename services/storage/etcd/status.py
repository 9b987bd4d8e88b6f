"""The state of the etcd cluster as its members tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """``version`` "": the member did not answer."""

    name: str
    member_id: int
    client_urls: tuple[str, ...]
    version: str
    leader: bool


@dataclass(frozen=True, slots=True)
class EtcdStatus:
    """``leader``: the name of the leading member, "" if there is none. Sizes in bytes.

    ``has_leader``: the member that was asked knows one.
    """

    version: str
    revision: int
    db_size_bytes: int
    db_in_use_bytes: int
    leader: str
    has_leader: bool
    members: tuple[EtcdMember, ...]
    progress_trusted: bool
    warnings: tuple[str, ...]
