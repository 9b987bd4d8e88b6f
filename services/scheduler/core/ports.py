"""Which host ports are taken on which node (rule: kubernetes pkg/scheduler/framework HostPortInfo)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

# (protocol, address, port)
HostPort: TypeAlias = tuple[str, str, int]

ANY_ADDRESSES = frozenset(("", "0.0.0.0"))


class PortLedger:
    """Host ports in use, per row; the same port may be counted more than once when a node is over-committed."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int], dict[int, Counter[str]]] = {}

    def take(self, row: int, ports: Iterable[HostPort]) -> None:
        for protocol, address, port in ports:
            self._taken.setdefault((protocol, port), {}).setdefault(row, Counter())[address] += 1

    def release(self, row: int, ports: Iterable[HostPort]) -> None:
        for protocol, address, port in ports:
            rows = self._taken[(protocol, port)]
            rows[row][address] -= 1
            if not rows[row][address]:
                del rows[row][address]
            if not rows[row]:
                del rows[row]
            if not rows:
                del self._taken[(protocol, port)]

    def clear(self, row: int) -> None:
        """Forget every port of ``row``."""
        for key in [key for key, rows in self._taken.items() if row in rows]:
            del self._taken[key][row]
            if not self._taken[key]:
                del self._taken[key]

    def conflicts(self, ports: Iterable[HostPort]) -> Iterator[int]:
        """Rows on which one of ``ports`` is taken: same protocol and port, and equal addresses or a wildcard."""
        for protocol, address, port in ports:
            for row, addresses in self._taken.get((protocol, port), {}).items():
                if address in ANY_ADDRESSES or address in addresses or not ANY_ADDRESSES.isdisjoint(addresses):
                    yield row

    def addresses(self, row: int, protocol: str, port: int) -> dict[str, int]:
        """How often ``port`` is taken on ``row``, by address; a copy."""
        return dict(self._taken.get((protocol, port), {}).get(row, {}))

    def copy(self) -> PortLedger:
        twin = PortLedger()
        twin._taken = {key: {row: ips.copy() for row, ips in rows.items()} for key, rows in self._taken.items()}
        return twin
