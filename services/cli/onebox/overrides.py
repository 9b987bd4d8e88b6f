"""``ursa up --set COMPONENT.section.field=value``: single fields of the components' configuration files. Pure.

``COMPONENT`` is a component's name (``controller-rp-1``) or a kind, which means all of that kind (``controllers``).
The rest is handed to each as ``--set section.field=value``, which every process of Ursa understands; the value is in
TOML's syntax. What a process refuses is in its log, and ``ursa up`` says which one does not become ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from services.cli.errors import UsageError

if TYPE_CHECKING:
    from services.cli.onebox.plan import Component

# Not a program of ours: its settings are command-line flags.
_FOREIGN = "etcd"


def applied(components: Iterable[Component], overrides: Sequence[str]) -> list[Component]:
    """The components with their overrides, in the order given. Raises ``UsageError`` naming the one that is wrong."""
    made = list(components)
    for override in overrides:
        who, field = _split(override)
        chosen = [one for one in made if who in (one.name, one.kind) and one.kind != _FOREIGN]
        if not chosen:
            known = sorted({text for one in made if one.kind != _FOREIGN for text in (one.name, one.kind)})
            raise UsageError(f"--set {override}: there is no component {who!r}", hint=f"known: {', '.join(known)}")
        made = [replace(one, argv=(*one.argv, "--set", field)) if one in chosen else one for one in made]
    return made


def _split(override: str) -> tuple[str, str]:
    who, dot, field = override.partition(".")
    name, equals, _ = field.partition("=")
    if not (who and dot and name and equals) or "=" in who:
        raise UsageError(f"--set {override}: want COMPONENT.field=value")
    return who, field
