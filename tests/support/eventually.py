"""Waiting for a condition that others bring about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from services.rpc.status import StatusError

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T]], *, within_s: float = 30.0) -> T:
    """The first true value of ``check``, asked again until then; its last error or value if there is none."""
    deadline = time.monotonic() + within_s
    while True:
        failure: Exception | None = None
        value: Any = None
        try:
            value = await check()
            if value:
                return value  # type: ignore[no-any-return]
        except StatusError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {within_s} s; last: {value!r}")
        await asyncio.sleep(0.02)
