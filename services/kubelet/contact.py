"""Whether a node's lease is kept: noted by who renews it, asked by the node's kubelet."""

from __future__ import annotations

from collections.abc import Iterable


class Contact:
    """``lease_s``: a node whose lease was not stored for longer is ``lost``, as far as it knows itself. Times are the
    clock's ``monotonic``.

    So is one whose kubelet was just started: what others have made of the node's silence it cannot contradict before
    a renewal is stored, which takes a moment where the partition answers.
    """

    __slots__ = ("_lease_s", "_left", "_stored_s")

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._stored_s = float("-inf")
        # Mostly none: there are tens of thousands of nodes.
        self._left: dict[str, None] | None = None

    def renewed(self, sent_s: float) -> bool:
        """A renewal that was sent at ``sent_s`` has been stored. True: pods have been left marked until then."""
        if sent_s > self._stored_s:
            self._stored_s = sent_s
        return self._left is not None

    def lost(self, now_s: float) -> bool:
        return now_s - self._stored_s > self._lease_s

    def leave(self, uid: str) -> None:
        """This pod's mark is left as it is until the node is in contact again."""
        if self._left is None:
            self._left = {}
        self._left[uid] = None

    def forget(self, uid: str) -> None:
        if self._left is not None:
            self._left.pop(uid, None)

    def take_left(self) -> Iterable[str]:
        """The pods that were left marked, once."""
        left, self._left = self._left, None
        return left or ()
