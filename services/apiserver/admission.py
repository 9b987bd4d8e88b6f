"""Admission: what may refuse or complete a write beyond the kind's own rules.

A partition passes its plug-ins to the servicer. Order of a create: ``admit`` (may change the object) → defaults →
validation → ``reserve`` (effects outside, skipped in a dry run) → the write → ``created``.
"""

from __future__ import annotations

from typing import Any

from services.api.kinds import Kind


class Admission:
    """A plug-in that does nothing; override what is needed. ``resources``: the kinds it hears of, None for all."""

    resources: frozenset[str] | None = None

    async def admit(self, kind: Kind, obj: Any) -> None:
        """``obj`` is about to be created: complete it in place, or refuse with a ``StatusError``."""

    async def reserve(self, kind: Kind, obj: Any) -> None:
        """``obj`` is valid and about to be written: do what must come first elsewhere. May be repeated."""

    async def created(self, kind: Kind, obj: Any) -> None:
        """``obj`` is stored. A failure here is reported to the client, whose retry must find a way to succeed."""

    async def admit_delete(self, kind: Kind, key: str) -> None:
        """The object at ``key`` is about to be deleted by a client: refuse with a ``StatusError``."""

    async def deleted(self, kind: Kind, obj: Any) -> None:
        """``obj`` is gone from storage."""


def hearing(plugins: tuple[Admission, ...], kind: Kind, method: str) -> tuple[Any, ...]:
    """The bound ``method``s of those plug-ins that override it for ``kind``: the others cost nothing."""
    return tuple(
        getattr(plugin, method)
        for plugin in plugins
        if (plugin.resources is None or kind.resource in plugin.resources)
        and getattr(type(plugin), method) is not getattr(Admission, method)
    )
