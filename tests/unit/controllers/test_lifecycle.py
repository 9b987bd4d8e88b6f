"""What lifecycle does next, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from services.controllers.lifecycle import SETTLE_S, Action, Delete, Finalize, Terminating, decide


@pytest.mark.parametrize(
    ("content", "since_s", "actions"),
    [
        ({"pods": ["p"], "leases": ["l"]}, 9, [Delete("leases", ("l",)), Delete("pods", ("p",))]),
        ({"namespaces": ["n"], "priorityclasses": ["c"]}, 9, [Delete("namespaces", ("n",))]),
        ({"priorityclasses": ["c"]}, 9, [Delete("priorityclasses", ("c",))]),
        ({}, SETTLE_S, [Finalize()]),
        ({}, SETTLE_S - 0.1, []),
    ],
)
def test_what_is_held_goes_first_and_an_empty_thing_settles(
    content: Mapping[str, Sequence[str]], since_s: float, actions: list[Action]
) -> None:
    assert decide(Terminating("acme", "shop", "uid", since_s, content)) == actions
