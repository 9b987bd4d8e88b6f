"""The conformance suite: scenarios that every ``ResourceStore`` passes, whatever it stands on.

``SCENARIOS`` are coroutine functions of a ``World`` and say in their names what they check. They assume nothing about
absolute revisions, so stores that share a backend can be tried side by side; each needs an empty collection.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType

from services.storage.testing import lists, reads, transactions, watches, writes
from services.storage.testing.world import World

Scenario = Callable[[World], Awaitable[None]]


def _scenarios(*modules: ModuleType) -> dict[str, Scenario]:
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__ and name[0] != "_"
    }


SCENARIOS = _scenarios(writes, transactions, reads, lists, watches)

__all__ = ["SCENARIOS", "Scenario", "World"]
