"""Pods of one template are prepared once: what lies beside their metadata is the same bytes.

An object to be created comes as ``metadata`` and a *rest*, and so it is stored. What is stored for a rest depends on
the rest and on what admission learnt of other objects, so it is remembered by both; of each object only the metadata
is looked at. Whatever is not plainly so (a field that is not known, metadata that does not come first, anything that
is refused) is left to the preparation one by one, which gives the same bytes, and the errors.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from services.api import defaults, validation, wire
from services.api.kinds import Kind
from services.apiserver import limits, objects, scope
from services.apiserver.admission import Admission
from services.rpc.status import StatusError

REST_BYTES_MAX = 16 * 1024
TEMPLATES_KEPT = 256
TAILS_KEPT = 4

Parts = tuple[bytes, bytes]
"""The frame of an object's metadata, and its other bytes."""

Learnt = tuple[Hashable, ...]


class Template:
    """``tail`` by what was learnt: the canonical bytes after the metadata; None: to be prepared one by one."""

    __slots__ = ("rest", "specimen", "tails")

    def __init__(self, rest: bytes, specimen: Any) -> None:
        self.rest = rest
        self.specimen = specimen
        self.tails: dict[Learnt, bytes | None] = {}


Memo = dict[tuple[str, str, Template], bytes | None]
"""The tails found for one request, by tenant, namespace and template."""


@dataclass(slots=True)
class Draft:
    """An object on its way to be created. With a template ``obj`` has metadata only, until it is whole.

    ``tail``: the canonical bytes after those of ``obj``.
    """

    obj: Any
    template: Template | None = None
    tail: bytes = b""

    def make_whole(self) -> None:
        """Without the template: the object as the client sent it."""
        if self.template is not None:
            whole = type(self.obj).FromString(self.template.rest)
            whole.metadata.CopyFrom(self.obj.metadata)
            self.obj, self.template, self.tail = whole, None, b""


class Templates:
    """``plugins``: those that admit this kind, each in two steps."""

    def __init__(self, kind: Kind, gate: scope.TenantGate, plugins: Sequence[Admission]) -> None:
        self._kind = kind
        self._gate = gate
        self._plugins = plugins
        self._known: dict[bytes, Template] = {}

    # Requests

    def single(self, request: bytes) -> Draft | None:
        """The object of a create request that says nothing else; None: to be parsed as a whole."""
        parts = split(request)
        if parts is None or len(parts) != 1:
            return None
        drafts = self._drafts(parts)
        return drafts[0] if drafts else None

    def batch(self, request: bytes) -> list[Draft] | None:
        """The objects of a batch request; None: to be parsed as a whole."""
        parts = split(request)
        if not parts:
            return None
        return self._drafts(parts)

    def _drafts(self, parts: Sequence[Parts]) -> list[Draft] | None:
        templates: list[Template] = []
        for _, rest in parts:
            template = self._known.get(rest) or self._learn(rest)
            if template is None:
                return None
            templates.append(template)
        # All metadata at once: parsing and looking for unknown fields cost by the call.
        message: Any = self._kind.batch_request
        try:
            parsed = message.FromString(b"".join([wire.frame(1, metadata) for metadata, _ in parts]))
        except DecodeError:
            return None
        if wire.has_unknown_fields(parsed):
            return None
        return list(map(Draft, parsed.objects, templates))

    def _learn(self, rest: bytes) -> Template | None:
        if len(rest) > REST_BYTES_MAX:
            return None
        try:
            specimen: Any = self._kind.message.FromString(rest)
        except DecodeError:
            return None
        if specimen.HasField("metadata") or wire.has_unknown_fields(specimen):
            return None
        if len(self._known) >= TEMPLATES_KEPT:
            # The oldest: a template that is in use comes back at the price of one pod.
            del self._known[next(iter(self._known))]
        template = self._known[rest] = Template(rest, specimen)
        return template

    # Preparation

    async def prepare(self, draft: Draft, memo: Memo) -> bool:
        """Find ``draft``'s tail and check its metadata, which is not changed. False: to be prepared one by one.

        ``memo``: what was found for other objects of the same request.
        """
        template, metadata = draft.template, draft.obj.metadata
        if template is None:
            return False
        place = metadata.tenant, metadata.namespace, template
        if place in memo:
            tail = memo[place]
        else:
            tail = memo[place] = await self._tail(template, metadata)
        if tail is None or metadata.resource_version or validation.metadata_faults(self._kind, metadata):
            return False
        draft.tail = tail
        return True

    async def _tail(self, template: Template, metadata: Any) -> bytes | None:
        try:
            scope.place(self._kind, metadata)
            await self._gate.require(metadata.tenant)
            learnt = tuple([await each.learn(self._kind, metadata, template.specimen) for each in self._plugins])
        except StatusError:
            return None
        if learnt not in template.tails:
            if len(template.tails) >= TAILS_KEPT:
                template.tails.clear()
            template.tails[learnt] = self._content(template, learnt)
        return template.tails[learnt]

    def _content(self, template: Template, learnt: Learnt) -> bytes | None:
        kind = self._kind
        obj: Any = kind.message()
        obj.CopyFrom(template.specimen)
        try:
            objects.check_type(kind, obj)
            objects.begin_content(kind, obj)
            for plugin, known in zip(self._plugins, learnt, strict=True):
                plugin.impose(kind, obj, known)
        except StatusError:
            return None
        defaults.apply(kind, obj)
        if validation.content_faults(kind, obj):
            return None
        obj.ClearField("metadata")
        found: bytes = obj.SerializeToString(deterministic=True)
        return found


def split(request: bytes) -> list[Parts] | None:
    """The objects of a request that consists of field 1 alone, each beginning with its metadata; else None."""
    found: list[Parts] = []
    at, end = 0, len(request)
    if end > limits.REQUEST_BYTES_MAX:
        return None
    try:
        while at < end:
            if request[at] != 0x0A:
                return None
            size, start = wire.read_varint(request, at + 1)
            at = start + size
            if at > end or start == at or request[start] != 0x0A:
                return None
            size, start_of_metadata = wire.read_varint(request, start + 1)
            cut = start_of_metadata + size
            if cut > at:
                return None
            found.append((request[start:cut], request[cut:at]))
    except IndexError:
        return None
    return found
