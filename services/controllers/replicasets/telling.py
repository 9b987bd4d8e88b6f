"""Events of replica sets, in upstream's words; of many pods at once there is one event and not one for each."""

from __future__ import annotations

from collections.abc import Sequence

from services.api.kinds import REPLICA_SETS
from services.controllers.events import About, EventRecorder
from services.controllers.replicasets.facts import Wanted
from services.rpc.status import StatusError

COMPONENT = "replicaset-controller"
EVENTS_PER_S = 50.0
# Pods of one look at a replica set that have an event each.
SINGLE_MAX = 5
FAILED_CREATE, FAILED_DELETE = "FailedCreate", "FailedDelete"
_WORDS = {FAILED_CREATE: "Error creating", FAILED_DELETE: "Error deleting"}


def written(recorder: EventRecorder, wanted: Wanted, verb: str, names: Sequence[str]) -> None:
    """``verb``: Create or Delete."""
    if not names:
        return
    done = f"{verb}d"
    if len(names) > SINGLE_MAX:
        messages = [f"{done} {len(names)} pods: {names[0]}, {names[1]}, ..., {names[-1]}"]
    else:
        messages = [f"{done} pod: {name}" for name in names]
    for message in messages:
        recorder.record(_about(wanted), kind="Normal", reason=f"Successful{verb}", message=message)


def failed(recorder: EventRecorder, wanted: Wanted, reason: str, failure: StatusError) -> None:
    if reason in _WORDS:
        message = f"{_WORDS[reason]}: {failure.message}"
        recorder.record(_about(wanted), kind="Warning", reason=reason, message=message)


def _about(wanted: Wanted) -> About:
    kind, version = REPLICA_SETS.name, REPLICA_SETS.api_version
    return About(kind, wanted.tenant, wanted.namespace, wanted.name, wanted.uid, api_version=version)
