"""How the machine under a node is, as the node's conditions tell it (``pkg/kubelet/nodestatus/setters.go``)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Finding(NamedTuple):
    """One condition of a node."""

    type: str
    status: str
    reason: str
    message: str


Health: TypeAlias = tuple[Finding, ...]


def health(*, memory: bool = False, disk: bool = False, pids: bool = False, unready: str = "") -> Health:
    """``memory``, ``disk``, ``pids``: little of it is left; ``unready``: why no pod can be run, "" if some can."""
    return (
        _pressure(
            "Memory", memory, "InsufficientMemory", "insufficient memory", "SufficientMemory", "sufficient memory"
        ),
        Finding("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure")
        if disk
        else Finding("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        _pressure("PID", pids, "InsufficientPID", "insufficient PID", "SufficientPID", "sufficient PID"),
        Finding("Ready", "False", "KubeletNotReady", unready)
        if unready
        else Finding("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )


def _pressure(of: str, little: bool, bad_reason: str, bad: str, good_reason: str, good: str) -> Finding:
    reason, what = (bad_reason, bad) if little else (good_reason, good)
    return Finding(
        f"{of}Pressure", "True" if little else "False", f"KubeletHas{reason}", f"kubelet has {what} available"
    )


HEALTHY = health()
