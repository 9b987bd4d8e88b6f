"""Which resource partitions leave claims without an answer, though their watches may be alive. Pure.

A partition whose etcd is full or without a quorum goes on serving watches from memory, and grants nothing. Its nodes
are to be no candidates then, like those of one that is out of reach; and as no watch will tell of its recovery,
somebody has to ask (``prober``).
"""

from __future__ import annotations

from dataclasses import dataclass

from services.base.clock import Clock

# So much is left to a call that is sent just before its partition counts as silent.
PATIENCE_MIN_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """A batch of claims that waits for its answers since ``since`` (monotonic seconds)."""

    partition: str
    since: float


class Silence:
    """A partition is silent when claims have waited for an answer for ``after_s`` without one being granted meanwhile.

    It stays so until ``granted`` or ``forget``.
    """

    def __init__(self, *, clock: Clock, after_s: float) -> None:
        self._clock = clock
        self._after_s = after_s
        self._waits: dict[str, set[Wait]] = {}
        self._granted_at: dict[str, float] = {}
        self._silent: set[str] = set()

    def begin(self, partition: str) -> Wait:
        """A batch of claims waits from now on, over every try, until ``end``."""
        wait = Wait(partition, self._clock.monotonic())
        self._waits.setdefault(partition, set()).add(wait)
        return wait

    def end(self, wait: Wait | None) -> None:
        """It has its answers, or waits for something else. Idempotent."""
        if wait is not None:
            self._waits[wait.partition].discard(wait)

    def granted(self, partition: str) -> None:
        """A claim was granted: the partition can write."""
        self._granted_at[partition] = self._clock.monotonic()
        self._silent.discard(partition)

    def waited_s(self, partition: str) -> float:
        """For how long claims have waited while none was granted; 0 if none waits."""
        waits = self._waits.get(partition)
        if not waits:
            return 0.0
        since = max(min(wait.since for wait in waits), self._granted_at.get(partition, 0.0))
        return self._clock.monotonic() - since

    def is_silent(self, partition: str) -> bool:
        if partition not in self._silent and self.waited_s(partition) >= self._after_s:
            self._silent.add(partition)
        return partition in self._silent

    def silent(self) -> list[str]:
        """Partitions that were found silent and have not granted a claim since."""
        return sorted(self._silent)

    def patience_s(self, partition: str, timeout_s: float) -> float:
        """``timeout_s`` of a call or a pause, shortened to when the partition would count as silent."""
        return min(timeout_s, max(PATIENCE_MIN_S, self._after_s - self.waited_s(partition)))

    def forget(self, partition: str) -> None:
        """Let it try again: it is no part of the cluster any more, or nothing is known of it."""
        self._silent.discard(partition)
        self._granted_at[partition] = self._clock.monotonic()

    def clear(self) -> None:
        """Somebody else is the leader now."""
        self._silent.clear()
        self._granted_at.clear()
