"""What clients tell each other: the objects they saw last, and the highest revision. Often stale, on purpose."""

from __future__ import annotations

from typing import Any

from services.base.rand import Rand
from tests.robustness.cluster import NAMESPACES, TENANTS
from tests.robustness.history import Selection

COLOURS = ("red", "green", "blue")
NODES = ("node-1", "node-2", "node-3")
PHASES = ("Pending", "Running", "Failed")
_NAMES = tuple(f"n{number}" for number in range(10))


class Board:
    """Shared by all clients of a run."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.revision = 0

    def saw(self, key: str, message: Any) -> None:
        self.objects[key] = message
        self.reached(message.metadata.resource_version)

    def reached(self, revision: int) -> None:
        self.revision = max(self.revision, revision)


def some_kind(rand: Rand) -> str:
    return "pods" if rand.uniform(0, 1) < 0.8 else "leases"


def some_place(rand: Rand) -> tuple[str, str, str]:
    """Tenant, namespace, name: few enough that clients meet."""
    return rand.choice(TENANTS), rand.choice(NAMESPACES), rand.choice(_NAMES)


def some_labels(rand: Rand) -> dict[str, str]:
    labels = {"colour": rand.choice(COLOURS)}
    if rand.uniform(0, 1) < 0.5:
        labels["size"] = rand.choice(("small", "large"))
    return labels


def some_generated_place(rand: Rand) -> tuple[str, str, str]:
    """Tenant, namespace, and what a generated name begins with."""
    return rand.choice(TENANTS), rand.choice(NAMESPACES), rand.choice(("gen-", "made-"))


def some_clearing(rand: Rand) -> Selection:
    """A part of one namespace: not so much that nothing is left for the others."""
    labels = rand.choice(("colour=red,size", "colour=blue,size=small", "size=large", "colour=green"))
    return Selection(some_kind(rand), rand.choice(TENANTS), rand.choice(NAMESPACES), labels)


def some_ballast(rand: Rand) -> int:
    """Bytes: most objects are small, a few fill a message together."""
    return rand.choice((0, 0, 0, 0, 0, 0, 2_000, 20_000, 120_000))


def some_selection(rand: Rand, *, kind: str = "") -> Selection:
    """A kind, a tenant or all, a namespace or all, labels and fields or not."""
    kind = kind or some_kind(rand)
    tenant = rand.choice((*TENANTS, *TENANTS, "*"))
    namespace = rand.choice((*NAMESPACES, "", "", ""))
    labels = rand.choice(
        ("", "", "colour=red", "colour!=red", "colour in (red,blue)", "size", "!size", "colour=green,size=large")
    )
    fields = ""
    if kind == "pods":
        fields = rand.choice(("", "", "", "spec.nodeName=node-1", "spec.nodeName=", "status.phase!=Running"))
    return Selection(kind, tenant, namespace, labels, fields)
