"""A partition over memory for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.resource_partition.world import World, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as found:
        yield found
