"""What words on the command line mean."""

from __future__ import annotations

import pytest

from services.api.kinds import KINDS, Kind, find
from services.cli.errors import UsageError
from services.cli.selection import parse


def said(*words: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(wanted.kind.resource, wanted.names) for wanted in parse(words)]


def test_the_ways_to_name_objects() -> None:
    assert said("pods") == [("pods", ())]
    assert said("po", "web", "api") == [("pods", ("web", "api"))]
    assert said("pods,ns") == [("pods", ()), ("namespaces", ())]
    assert said("pod/web", "node/n1", "pods/api") == [("pods", ("web", "api")), ("nodes", ("n1",))]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "which"),
        (("pots",), "pots"),
        (("pods,nodes", "a"), "TYPE/NAME|several"),
        (("pod/web", "api"), "api"),
        (("pod/",), "TYPE/NAME"),
        (("pod/a/b",), "TYPE/NAME"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(words)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.resource)
def test_what_is_printed_of_an_object_can_be_asked_for(kind: Kind) -> None:
    """``ursa get … -o name | xargs ursa delete``."""
    assert find(kind.qualified) is kind
    assert said(f"{kind.qualified}/web") == [(kind.resource, ("web",))]
