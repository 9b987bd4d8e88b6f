"""How equally good nodes are told apart: by a hash that differs from scheduler to scheduler."""

from __future__ import annotations

import hashlib

from services.scheduler.core.nodes import NodeId


def tie_hash(seed: int, scheduler: str, node: NodeId) -> int:
    """63 bits of hash(seed, scheduler, rp/name): two schedulers do not walk the nodes in the same order."""
    text = f"{seed}\0{scheduler}\0{node.partition}\0{node.name}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
