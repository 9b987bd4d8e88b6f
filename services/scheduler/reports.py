"""What is said of scheduling, under the name of each pod's own profile: metrics, and events about the pods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from services.scheduler import metrics
from services.scheduler.attempt import Attempt
from services.scheduler.core import PodInfo
from services.scheduler.decision import Refusal
from services.scheduler.disruption import Victim
from services.scheduler.events import EventRecorder

ATTEMPTS_MAX = 16


class Reports:
    """``scheduled_events``: whether each bound pod has one."""

    def __init__(self, events: EventRecorder, *, scheduled_events: bool) -> None:
        self._events = events
        self._scheduled_events = scheduled_events

    def planned(self, pods: Sequence[PodInfo], took_s: float) -> None:
        """A plan was made."""
        metrics.PLAN_PODS.observe(len(pods))
        metrics.ALGORITHM_DURATION.observe(took_s)
        for profile in {profile_of(pod): None for pod in pods}:
            metrics.EXTENSION_DURATION.labels("Filter+Score", "Success", profile).observe(took_s)

    def unschedulable(self, refusals: Iterable[Refusal]) -> None:
        """No node takes these."""
        counts: Counter[str] = Counter()
        for refusal in refusals:
            pod = refusal.pod.info
            counts[profile_of(pod)] += 1
            self._record(pod, pod, "Warning", "FailedScheduling", refusal.message, "Scheduling")
        _count("unschedulable", counts)

    def carried(self, attempts: Sequence[Attempt], took_s: float) -> None:
        """A batch has gone all the way, however it ended."""
        for profile in {profile_of(attempt.pod): None for attempt in attempts}:
            metrics.EXTENSION_DURATION.labels("Bind", "Success", profile).observe(took_s)
            metrics.ATTEMPT_DURATION.labels("scheduled", profile).observe(took_s)

    def scheduled(self, attempts: Sequence[Attempt], now: float) -> None:
        """These are bound."""
        _count("scheduled", Counter(profile_of(attempt.pod) for attempt in attempts))
        for attempt in attempts:
            entry, pod = attempt.entry, attempt.pod
            metrics.E2E_DURATION.labels(str(min(entry.attempts, ATTEMPTS_MAX))).observe(now - entry.added_at)
            if self._scheduled_events:
                message = f"Successfully assigned {pod.namespace}/{pod.name} to {attempt.node}"
                self._record(pod, pod, "Normal", "Scheduled", message, "Binding")

    def preempted(self, attempt: Attempt, victims: Sequence[Victim]) -> None:
        """``victims`` are to go for the pod of ``attempt``."""
        if victims:
            metrics.PREEMPTION_ATTEMPTS.inc()
        message = f"Preempted by pod {attempt.pod.uid} on node {attempt.node}"
        for victim in victims:
            self._record(attempt.pod, victim.pod, "Normal", "Preempted", message, "Preempting")

    def failed(self, attempts: Iterable[Attempt]) -> None:
        """These attempts came to nothing."""
        _count("error", Counter(profile_of(attempt.pod) for attempt in attempts))

    def _record(self, by: PodInfo, about: PodInfo, kind: str, reason: str, message: str, action: str) -> None:
        profile = profile_of(by)
        self._events.record(about, kind=kind, reason=reason, message=message, action=action, component=profile)


def profile_of(pod: PodInfo) -> str:
    """The name of the profile that places ``pod``."""
    return pod.kind.pod.spec.scheduler_name


def _count(result: str, counts: Counter[str]) -> None:
    for profile, count in counts.items():
        metrics.ATTEMPTS.labels(result, profile).inc(count)
