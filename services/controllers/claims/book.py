"""The claims of one tenant partition and which of them to ask about: what is seen goes in, questions come out.

Synchronous; the caller brings the time. Memory is that of the claims, and of a bounded number of pods that ended before
their claim was seen.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from services.controllers.claims.facts import Claim, Look, look
from services.controllers.pods import SeenPod

# Pods whose end was seen and whose claim was not (yet): two watches are not ordered against each other.
ENDED_MAX = 65_536


class Cause(enum.Enum):
    """Why a claim is asked about."""

    HINT = "hint"  # its pod was seen to end, or to be elsewhere
    REVIEW = "review"  # it has had no pod for too long


class Question(NamedTuple):
    """``since``: when it came up (monotonic seconds)."""

    claim: Claim
    cause: Cause
    since: float


class DelayLine:
    """UIDs that wait, in the order of their time: those are always added with a time no earlier than the last one's."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Cause]] = {}

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, uid: str) -> bool:
        return uid in self._due

    def put(self, uid: str, due: float, cause: Cause) -> None:
        """Anew, if it waits already."""
        self._due.pop(uid, None)
        self._due[uid] = (due, cause)

    def discard(self, uid: str) -> None:
        self._due.pop(uid, None)

    def clear(self) -> None:
        self._due.clear()

    @property
    def next_at(self) -> float | None:
        """The first one's time."""
        return next(iter(self._due.values()))[0] if self._due else None

    def ripe(self, now: float) -> Iterator[tuple[str, Cause]]:
        """Those whose time has come; they wait no more."""
        while self._due:
            uid, (due, cause) = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[uid]
            yield uid, cause


class ClaimBook:
    """``review_after_s``: a claim without a bound pod is asked about after so long. ``retry_after_s``: one whose
    question got no answer of its own is asked about again."""

    def __init__(self, *, review_after_s: float, retry_after_s: float) -> None:
        self.claims: dict[str, Claim] = {}
        self._review_after_s = review_after_s
        self._retry_after_s = retry_after_s
        self._pods: Mapping[str, SeenPod] | None = None
        self._due: dict[str, tuple[Cause, float]] = {}
        self._asking: set[str] = set()
        self._later = DelayLine()
        self._again = DelayLine()
        self._ended: dict[str, None] = {}
        # Claims without a bound pod when the book was opened: nobody saw what became of those before.
        self._unsure: dict[str, None] = {}

    @property
    def is_open(self) -> bool:
        """Questions are asked: claims and pods are known."""
        return self._pods is not None

    @property
    def due(self) -> int:
        """Questions that wait to be asked."""
        return len(self._due)

    @property
    def unbound(self) -> int:
        """Claims whose pod is not seen at their node (yet)."""
        return len(self._later) + len(self._again) + len(self._due) + len(self._asking)

    def next_at(self) -> float | None:
        """When the next claim falls due (monotonic seconds), None: none waits."""
        times = [at for at in (self._later.next_at, self._again.next_at) if at is not None]
        return min(times, default=None)

    # What is seen

    def open(self, pods: Mapping[str, SeenPod], now: float, wall: float) -> None:
        """Claims and bound pods are known completely from here on; ``pods`` is kept current by its owner. A claim that
        is older than the review period (``wall``, Unix seconds; a clock decides only when to ask) is asked about at
        once: its pod may have ended while nobody looked. Of a younger one that is to be found out by ``take_unsure``:
        to ask about it would revoke a bind that is under way."""
        self._pods = pods
        self._due.clear()
        self._later.clear()
        self._again.clear()
        waiting: list[tuple[float, str]] = []
        for uid, claim in self.claims.items():
            match look(claim, pods.get(uid), gone=uid in self._ended):
                case Look.NOW:
                    self._ask(uid, Cause.HINT, now)
                case Look.LATER:
                    left = min(self._review_after_s, claim.created + self._review_after_s - wall)
                    waiting.append((now + max(0.0, left), uid))
        for due, uid in sorted(waiting):
            self._later.put(uid, due, Cause.REVIEW)
        self._unsure = {uid: None for due, uid in waiting if due > now}

    def close(self) -> None:
        """The pods are not known any more: nothing is asked until ``open``, and what is in flight will not come back.
        The claims stay."""
        self._pods = None
        self._unsure.clear()
        self._asking.clear()
        self._due.clear()
        self._later.clear()
        self._again.clear()

    def claimed(self, claim: Claim, now: float) -> None:
        """The claim is new, or has changed: whoever claims is alive, so its time begins again."""
        self.claims[claim.uid] = claim
        if self._pods is not None:
            self._place(claim, now, gone=claim.uid in self._ended)

    def ended(self, uid: str) -> None:
        """The claim is no more."""
        self.claims.pop(uid, None)
        self._ended.pop(uid, None)
        self._forget(uid)

    def pod_changed(self, uid: str, now: float, *, gone: bool) -> None:
        """``pods`` has changed for ``uid``; ``gone``: it is not there any more."""
        claim = self.claims.get(uid)
        if claim is not None:
            self._place(claim, now, gone=gone)
        elif gone:
            self._ended[uid] = None
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]

    def _place(self, claim: Claim, now: float, *, gone: bool) -> None:
        if self._pods is None:
            return
        uid = claim.uid
        match look(claim, self._pods.get(uid), gone=gone):
            case Look.NOW:
                self._ask(uid, Cause.HINT, now)
            case Look.NEVER:
                self._forget(uid)
            case Look.LATER if self._due.get(uid, (None,))[0] is not Cause.HINT:
                self._forget(uid)
                self._later.put(uid, now + self._review_after_s, Cause.REVIEW)

    def _ask(self, uid: str, cause: Cause, since: float) -> None:
        self._later.discard(uid)
        self._again.discard(uid)
        self._due.setdefault(uid, (cause, since))

    def _forget(self, uid: str) -> None:
        self._due.pop(uid, None)
        self._later.discard(uid)
        self._again.discard(uid)

    # What became of pods before the book was opened

    def take_unsure(self, limit: int) -> list[Claim]:
        """Up to ``limit`` claims whose pods somebody has to read: they may have ended while nobody looked."""
        taken: list[Claim] = []
        while self._unsure and len(taken) < limit:
            uid = next(iter(self._unsure))
            del self._unsure[uid]
            if uid in self._later:
                taken.append(self.claims[uid])
        return taken

    def still_unsure(self, claims: Iterable[Claim]) -> None:
        """Their pods could not be read."""
        self._unsure.update((claim.uid, None) for claim in claims if self._is_waiting(claim))

    def found_over(self, claim: Claim, now: float) -> None:
        """The pod of one that was taken is gone, has ended or is elsewhere: ask now. A newer claim waits as it did."""
        if self._is_waiting(claim):
            self._ask(claim.uid, Cause.HINT, now)

    def _is_waiting(self, claim: Claim) -> bool:
        return self._pods is not None and self.claims.get(claim.uid) == claim and claim.uid in self._later

    # Questions

    def take(self, limit: int, now: float) -> list[Question]:
        """Up to ``limit`` questions, the oldest first, now in flight: each must come back by ``answered``,
        ``unanswered`` or ``put_back``. No claim is asked about twice at a time."""
        for line in (self._later, self._again):
            for uid, cause in line.ripe(now):
                self._due.setdefault(uid, (cause, now))
        taken: list[Question] = []
        for uid, (cause, since) in self._due.items():
            if len(taken) >= limit:
                break
            if uid not in self._asking:
                taken.append(Question(self.claims[uid], cause, since))
        for question in taken:
            del self._due[question.claim.uid]
            self._asking.add(question.claim.uid)
        return taken

    def answered(self, uid: str, now: float) -> None:
        """There was an answer, and the claim was released or stays. If it is still there after a review period without
        a pod at its node, it is asked about again."""
        if self._still_wanted(uid):
            self._later.put(uid, now + self._review_after_s, Cause.REVIEW)

    def unanswered(self, question: Question, now: float) -> None:
        """This question alone got no answer: ask again in a while, without holding up the others."""
        if self._still_wanted(question.claim.uid):
            self._again.put(question.claim.uid, now + self._retry_after_s, question.cause)

    def put_back(self, questions: Iterable[Question]) -> None:
        """They could not be asked at all: they are due as before."""
        for question in questions:
            if self._still_wanted(question.claim.uid):
                self._ask(question.claim.uid, question.cause, question.since)

    def _still_wanted(self, uid: str) -> bool:
        """Back from its flight: its claim is there, still without a pod at its node, and nothing newer is planned."""
        self._asking.discard(uid)
        claim = self.claims.get(uid)
        if claim is None or self._pods is None or uid in self._due or uid in self._later:
            return False
        return look(claim, self._pods.get(uid), gone=False) is not Look.NEVER
