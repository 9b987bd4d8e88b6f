"""Rendezvous hashing: which tenant partition a new tenant is offered first.

A tenant keeps its choice when partitions that are not its choice come or go, and a new partition takes an equal share
from each of the others. Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b


def rendezvous(tenant: str, partition_names: Collection[str]) -> str:
    """The partition of highest weight for ``tenant``; equal for any order of names. Raises ``ValueError`` for none."""
    if not partition_names:
        raise ValueError("no partition to place a tenant on")
    return max(partition_names, key=lambda name: (weight(tenant, name), name))


def weight(tenant: str, partition_name: str) -> int:
    """64 bits that depend on both names alone. Neither name may hold a NUL, which RFC 1123 names never do."""
    return int.from_bytes(blake2b(f"{tenant}\0{partition_name}".encode(), digest_size=8).digest(), "big")
