"""Which objects a command line means: ``pods``, ``pod web api``, ``pod/web node/n1``, ``pods,nodes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.api import kinds
from services.api.kinds import Kind
from services.cli.errors import UsageError


@dataclass(frozen=True)
class Wanted:
    """Objects of one kind: by name, or all that match when there are no names."""

    kind: Kind
    names: tuple[str, ...] = ()


def parse(words: Sequence[str]) -> list[Wanted]:
    """kubectl's three ways to say it. Raises ``UsageError``."""
    if not words:
        raise UsageError("which resources?", hint="e.g. `ursa get pods`; see `ursa api-resources`")
    if any("/" in word for word in words):
        return _slashed(words)
    found = [find(word) for word in words[0].split(",") if word]
    names = tuple(words[1:])
    if len(found) > 1 and names:
        raise UsageError("several types and names do not go together", hint="write TYPE/NAME for each object")
    return [Wanted(kind, names) for kind in found]


def find(word: str) -> Kind:
    """The kind that ``word`` names. Raises ``UsageError`` listing what there is."""
    try:
        return kinds.find(word)
    except LookupError as failure:
        raise UsageError(str(failure.args[0])) from None


def _slashed(words: Sequence[str]) -> list[Wanted]:
    wanted: dict[str, list[str]] = {}
    for word in words:
        kind, separator, name = word.partition("/")
        if not (separator and kind and name) or "/" in name:
            raise UsageError(f"{word!r} is no TYPE/NAME", hint="give every object as TYPE/NAME, or TYPE NAME [NAME...]")
        wanted.setdefault(find(kind).resource, []).append(name)
    return [Wanted(kinds.KINDS[resource], tuple(names)) for resource, names in wanted.items()]
