"""The nodes' leases as etcd has them: how often each was written, by the versions that etcd counts itself.

Read through etcd's own JSON gateway (``/v3/kv/range``, keys only), as nothing between it and the disk can err then.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.api import keys
from services.api.kinds import LEASES
from services.bench.fetching import fetch
from services.bench.heartbeat.hosts import PREFIX

TENANT, NAMESPACE = "system", "kube-node-lease"
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Versions:
    """``by_node``: (creation revision, writes since) of each node's lease in one etcd; ``revision``: etcd's own."""

    revision: int
    by_node: Mapping[str, tuple[int, int]]


async def versions(address: str) -> Versions:
    """Of the etcd at ``address`` (host:port). Raises ``OSError``."""
    start = keys.prefix(LEASES, TENANT, NAMESPACE) + PREFIX
    end = start[:-1] + chr(ord(start[-1]) + 1)
    request = {"key": _encoded(start), "range_end": _encoded(end), "keys_only": True}
    answer = await fetch(address, "/v3/kv/range", body=json.dumps(request).encode(), timeout_s=TIMEOUT_S)
    return await asyncio.to_thread(parsed, answer)


def parsed(answer: bytes) -> Versions:
    document = json.loads(answer)
    by_node = {}
    for entry in document.get("kvs", ()):
        node = base64.b64decode(entry["key"]).decode().rpartition("/")[2]
        by_node[node] = int(entry["create_revision"]), int(entry["version"])
    return Versions(int(document["header"]["revision"]), by_node)


def writes(before: Versions, after: Versions) -> dict[str, int]:
    """How often each node's lease was written in between; one that was made anew counts from its making."""
    found = {}
    for node, (created, version) in after.by_node.items():
        known = before.by_node.get(node)
        found[node] = version - known[1] if known is not None and known[0] == created else version
    return found


def least_due(seconds: float, renew_s: float, lease_s: float) -> int:
    """Fewer writes than these within ``seconds`` mean that a lease was not renewed for longer than it lasts: one at
    each end may fall outside, each comes up to a twentieth late, and one pause may be as long as the lease."""
    return max(0, int((seconds - lease_s) / (renew_s * 1.05)) - 1)


def merged(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    return {node: number for one in counts for node, number in one.items()}


def _encoded(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
