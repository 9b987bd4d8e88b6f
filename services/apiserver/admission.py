"""Admission: what may refuse or complete a write beyond the kind's own rules.

A partition passes its plug-ins to the servicer. Order of a create: ``admit`` (may change the object) → defaults →
validation → ``reserve`` (effects outside, skipped in a dry run) → the write → ``created``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from services.api.kinds import Kind

_STEPS = {"admit": ("admit", "learn", "impose")}


class Admission:
    """A plug-in that does nothing; override what is needed. ``resources``: the kinds it hears of, None for all."""

    resources: frozenset[str] | None = None

    async def admit(self, kind: Kind, obj: Any) -> None:
        """``obj`` is about to be created: complete it in place, or refuse with a ``StatusError``.

        A plug-in that has the two steps instead lets objects of one template be admitted together.
        """
        self.impose(kind, obj, await self.learn(kind, obj.metadata, obj))

    async def learn(self, kind: Kind, metadata: Any, obj: Any) -> Hashable:
        """All that ``impose`` needs of other objects; refuses where that, or the metadata, is reason enough.

        ``obj`` is read for what is not metadata only.
        """
        return None

    def impose(self, kind: Kind, obj: Any, learnt: Hashable) -> None:
        """Complete or refuse ``obj`` by ``learnt`` and by what is not metadata, and by nothing else: what comes of it
        is remembered. Metadata may be named in a refusal."""

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
    steps = _STEPS.get(method, (method,))
    return tuple(getattr(plugin, method) for plugin in plugins if _hears(plugin, kind, steps))


def in_steps(plugins: tuple[Admission, ...], kind: Kind) -> tuple[Admission, ...] | None:
    """The plug-ins that admit ``kind``, if each of them does so in two steps; else None."""
    found = tuple(plugin for plugin in plugins if _hears(plugin, kind, _STEPS["admit"]))
    return None if any(_hears(plugin, kind, ("admit",)) for plugin in found) else found


def _hears(plugin: Admission, kind: Kind, methods: tuple[str, ...]) -> bool:
    return (plugin.resources is None or kind.resource in plugin.resources) and any(
        getattr(type(plugin), method) is not getattr(Admission, method) for method in methods
    )
