"""What a kubelet host says of itself on its metrics port, as one line for a person."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Figures:
    """``heartbeats``: lease renewals that were acknowledged so far; ``failures``: writes that failed so far (many are
    tried again); ``disturbed``: nodes that are dead, cut off or crashed now."""

    registered: int
    ready: int
    pods: int
    heartbeats: int
    failures: int
    disturbed: int
    synced: bool

    def line(self, nodes: int, before: Figures | None, seconds: float) -> str:
        """``before``: the figures ``seconds`` ago, for the rate of heartbeats."""
        rate = (self.heartbeats - before.heartbeats) / seconds if before is not None and seconds > 0 else 0.0
        parts = [
            f"{self.registered}/{nodes} registered",
            f"{self.ready} Ready",
            f"{self.pods} pods",
            f"{rate:.0f} heartbeats/s",
            f"{self.failures} failures",
        ]
        if self.disturbed:
            parts.append(f"{self.disturbed} disturbed")
        return ", ".join(parts)


def read(address: str) -> Figures | None:
    """Of the host whose metrics are at ``address``; None: it does not answer (yet)."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
        return parse(text.splitlines(), _ready(address))
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=TIMEOUT_S) as answer:
            checks = json.load(answer)
    except urllib.error.HTTPError:
        return False
    return bool(checks) and all(checks.values())


def parse(lines: Iterable[str], synced: bool) -> Figures:
    """From the lines of ``/metrics``. Raises ``ValueError`` for a value that is no number."""
    registered = ready = pods = heartbeats = failures = disturbed = 0.0
    for line in lines:
        if not line.startswith("kubelet_"):
            continue
        series, _, value = line.rpartition(" ")
        name = series.split("{", 1)[0]
        match name:
            case "kubelet_nodes":
                registered += float(value)
            case "kubelet_ready_nodes":
                ready += float(value)
            case "kubelet_running_pods":
                pods += float(value)
            case "kubelet_disturbed_nodes":
                disturbed += float(value)
            case "kubelet_lease_renewals_total" if 'outcome="ok"' in series:
                heartbeats += float(value)
            case "kubelet_lease_renewals_total" | "kubelet_node_reports_total" | "kubelet_status_writes_total":
                failures += 0.0 if 'outcome="ok"' in series else float(value)
    return Figures(int(registered), int(ready), int(pods), int(heartbeats), int(failures), int(disturbed), synced)
