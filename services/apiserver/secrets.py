"""The partition's own secret, kept in its store: shared by all its servers, the same after every restart."""

from __future__ import annotations

import os

from services.storage import errors as storage
from services.storage.interface import Attributes, ResourceStore, Write

SECRET_PREFIX = "/ursa/.secret/"
CONTINUE_KEY = SECRET_PREFIX + "continue"
_KEY_BYTES = 32


def no_attributes(value: bytes) -> Attributes:
    """Secrets are not selected by anything."""
    del value
    return Attributes({}, {})


async def continue_key(store: ResourceStore) -> bytes:
    """The key that authenticates continue tokens; created if absent. Raises ``storage.Unavailable``."""
    try:
        return (await store.get(CONTINUE_KEY)).value
    except storage.KeyNotFound:
        pass
    try:
        await store.write(Write(CONTINUE_KEY, os.urandom(_KEY_BYTES), 0))
    except storage.KeyExists:
        pass  # Another server of the partition was faster.
    return (await store.get(CONTINUE_KEY)).value
