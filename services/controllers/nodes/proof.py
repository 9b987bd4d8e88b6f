"""How far this process has provably seen the heartbeats of its partition. Pure; the caller brings the time.

A connected watch proves nothing: behind it an etcd may be down, a server may hang, or this process may have been
stopped. So the controller writes a mark of its own beside the heartbeats (a pulse) and waits until their watch shows
it. A pulse that has come back proves that writes were possible since it was sent, and that every heartbeat stored
before it has been seen. Time between two such pulses counts when they are close together; else the process was blind,
and what it knew before is no ground for anything: every node's time begins anew.
"""

from __future__ import annotations


class Proof:
    """Times are the clock's monotonic seconds. ``blind_after_s``: the longest time between two pulses that counts."""

    def __init__(self, *, blind_after_s: float) -> None:
        self._blind_after_s = blind_after_s
        self._connected = False
        # Pulses on their way, the oldest first: the watch may be slower than they come.
        self._sent: dict[int, float] = {}
        self._proven_at: float | None = None
        self.since = 0.0
        self.blindnesses = 0

    @property
    def proven_at(self) -> float | None:
        """Every heartbeat that was stored by then has been seen; None: nothing is proven."""
        return self._proven_at

    def current(self, now: float) -> bool:
        """What is known is fresh enough to act on it."""
        return self._connected and self._proven_at is not None and now - self._proven_at <= self._blind_after_s

    def connected(self, connected: bool) -> None:
        """Whether the watches of nodes and leases are live. A pulse that was sent over a lost one proves nothing."""
        if not connected and self._connected:
            self._lose()
        self._connected = connected

    def sent(self, mark: int, now: float) -> None:
        """A pulse is about to be written; ``mark`` tells it from all others. What is older than counts is given up."""
        for old in [old for old, sent_at in self._sent.items() if now - sent_at > self._blind_after_s]:
            del self._sent[old]
        self._sent[mark] = now

    def seen(self, mark: int, now: float) -> bool:
        """The watch shows this pulse. True: it was the first after blindness: ``since`` is now, and what is older
        says nothing."""
        sent_at = self._sent.get(mark)
        if sent_at is None or not self._connected:
            return False
        # The watch shows them in their order: one that it has passed over will not be shown any more.
        self._sent = {later: at for later, at in self._sent.items() if at > sent_at}
        blind = self._proven_at is None or sent_at - self._proven_at > self._blind_after_s
        if blind:
            self.since = now
            self.blindnesses += 1
        self._proven_at = sent_at
        return blind

    def _lose(self) -> None:
        self._proven_at = None
        self._sent.clear()
