"""What the driver did and was told: every request's times, every acknowledged pod. Arrays, as there may be millions.

All times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec
import numpy as np

from services.bench.player.requests import Request, Resource, Verb

Floats = np.ndarray


class Journal:
    """Written by the driver, read when the run is over."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._due, self._begun, self._answered = array("d"), array("d"), array("d")
        self.retries = 0
        self.refusals: list[str] = []
        # Of created pods, one entry each.
        self.uids: list[str] = []
        self._pod_due, self._pod_acknowledged, self._pod_life = array("d"), array("d"), array("d")
        self._pod_request = array("l")
        self.deleted: dict[str, float] = {}
        self.sent = 0
        self.answered = 0

    def answer(self, request: Request, due: float, begun: float, now: float, tries: int) -> None:
        """``request`` was due, taken up and settled at these times, after so many tries that failed."""
        self.requests.append(request)
        self._due.append(due)
        self._begun.append(begun)
        self._answered.append(now)
        self.retries += tries
        self.answered += 1

    def created(self, request: Request, uids: Sequence[str], due: float, now: float) -> None:
        """Pods of a create were acknowledged, in the order of its names; ``answer`` follows."""
        lifetimes = request.lifetimes_s or (0.0,) * len(uids)
        for uid, life_s in zip(uids, lifetimes, strict=True):
            self.uids.append(uid)
            self._pod_due.append(due)
            self._pod_acknowledged.append(now)
            self._pod_life.append(life_s)
            self._pod_request.append(len(self.requests))

    def asked_to_delete(self, uids: Sequence[str], now: float) -> None:
        for uid in uids:
            self.deleted[uid] = now

    def refused(self, request: Request, why: str) -> None:
        self.refusals.append(
            f"{request.verb} {request.resource} {request.tenant}/{request.namespace}/{request.name}: {why}"
        )

    # -- read afterwards

    @property
    def due(self) -> Floats:
        return np.array(self._due, dtype=np.float64)

    @property
    def begun_at(self) -> Floats:
        """When the driver took each up; what it then waited for was an earlier request about the same object."""
        return np.array(self._begun, dtype=np.float64)

    @property
    def answered_at(self) -> Floats:
        return np.array(self._answered, dtype=np.float64)

    def latencies_s(self) -> dict[tuple[Verb, Resource], Floats]:
        """From due to answer, by verb and resource."""
        took = self.answered_at - self.due
        kinds = [(request.verb, request.resource) for request in self.requests]
        return {kind: took[np.array([one == kind for one in kinds], dtype=bool)] for kind in sorted(set(kinds))}

    @property
    def pod_due(self) -> Floats:
        return np.array(self._pod_due, dtype=np.float64)

    @property
    def pod_acknowledged(self) -> Floats:
        return np.array(self._pod_acknowledged, dtype=np.float64)

    @property
    def pod_lifetime_s(self) -> Floats:
        return np.array(self._pod_life, dtype=np.float64)

    def pod_steps(self) -> list[str]:
        """The step in which each pod was created."""
        return [self.requests[index].step for index in self._pod_request]

    def played(self, began: float) -> list[Request]:
        """The requests in the order in which they were due, timed from ``began``: a recording's."""
        order = np.argsort(self.due, kind="stable")
        times = self.due - began
        return [
            msgspec.structs.replace(self.requests[index], at_s=max(0.0, round(float(times[index]), 6)))
            for index in order
        ]
