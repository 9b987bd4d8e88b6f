"""What a delete makes of an object: pure rules (apiserver ``pkg/registry/rest`` BeforeDelete, pod strategy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.api.kinds import NAMESPACES, PODS, TENANTS, Kind
from services.api.ownership import FOREGROUND, ORPHAN, Policy
from services.apiserver import objects
from services.rpc import status
from services.rpc.status import Violation

DEFAULT_GRACE_S = 30
POLICIES = ("", "Background", "Foreground", "Orphan")
# Taken off by garbage collection when it has done its part.
_FINALIZER_OF = {Policy.FOREGROUND: FOREGROUND, Policy.ORPHAN: ORPHAN}
_TERMINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True)
class DeleteOptions:
    """``grace_period_seconds`` None: the object's own. ``uid``, ``resource_version``: preconditions, if not empty.

    ``policy``: what becomes of dependents; "": as an earlier delete said, else Background.
    """

    grace_period_seconds: int | None = None
    uid: str = ""
    resource_version: int = 0
    policy: str = ""


def check_request(request: Any) -> DeleteOptions:
    """The options of a DeleteRequest. Raises ``StatusError``."""
    violations = _faults(request)
    if request.preconditions.resource_version < 0:
        violations.append(Violation("preconditions.resource_version", "must not be negative"))
    if violations:
        raise status.invalid(violations, subject="the request")
    return DeleteOptions(
        _grace_period(request),
        request.preconditions.uid,
        request.preconditions.resource_version,
        request.propagation_policy,
    )


def check_collection(request: Any) -> DeleteOptions:
    """The options of a DeleteCollectionRequest, for each of its objects. Raises ``StatusError``."""
    violations = _faults(request)
    if violations:
        raise status.invalid(violations, subject="the request")
    return DeleteOptions(_grace_period(request), policy=request.propagation_policy)


def _grace_period(request: Any) -> int | None:
    return request.grace_period_seconds if request.HasField("grace_period_seconds") else None


def _faults(request: Any) -> list[Violation]:
    """What is wrong with the fields that both requests have."""
    violations = []
    if request.propagation_policy not in POLICIES:
        violations.append(
            Violation("propagation_policy", f'"{request.propagation_policy}" is none of Background, Foreground, Orphan')
        )
    grace = _grace_period(request)
    if grace is not None and grace < 0:
        violations.append(Violation("grace_period_seconds", f"must not be negative, is {grace}"))
    return violations


def deleted(kind: Kind, old: Any, revision: int, options: DeleteOptions, *, now_s: int) -> Any | None:
    """The object as the delete leaves it: a changed copy, ``old`` itself (nothing to do), or None (removed).

    Raises ``StatusError`` when a precondition fails.
    """
    objects.check_preconditions(kind, old, revision, uid=options.uid, resource_version=options.resource_version)
    old = _with_policy(old, options.policy)
    grace_s = _grace_s(kind, old, options)
    if not grace_s and not objects.held(old):
        return None
    metadata = old.metadata
    if not metadata.HasField("deletion_timestamp"):
        return _marked(kind, old, now_s, grace_s)
    running_s = metadata.deletion_grace_period_seconds
    if not running_s or grace_s >= running_s:
        return old
    # A repeated delete can only shorten the grace period, counted from the first request.
    requested_s = metadata.deletion_timestamp.seconds - running_s
    return _dated(old, max(now_s, requested_s + grace_s) if grace_s else now_s, grace_s)


def _with_policy(old: Any, policy: str) -> Any:
    """``old`` with the finalizer that ``policy`` asks for, instead of one that an earlier delete asked for."""
    if not policy:
        return old
    kept = [name for name in old.metadata.finalizers if name not in _FINALIZER_OF.values()]
    finalizer = _FINALIZER_OF.get(Policy(policy))
    wanted = [*kept, finalizer] if finalizer else kept
    if wanted == list(old.metadata.finalizers):
        return old
    result = type(old)()
    result.CopyFrom(old)
    del result.metadata.finalizers[:]
    result.metadata.finalizers.extend(wanted)
    return result


def _grace_s(kind: Kind, old: Any, options: DeleteOptions) -> int:
    if kind is not PODS or not old.spec.node_name or old.status.phase in _TERMINAL_PHASES:
        return 0
    if options.grace_period_seconds is not None:
        return options.grace_period_seconds
    if old.spec.HasField("termination_grace_period_seconds"):
        return max(0, int(old.spec.termination_grace_period_seconds))
    return DEFAULT_GRACE_S


def _marked(kind: Kind, old: Any, now_s: int, grace_s: int) -> Any:
    result = _dated(old, now_s + grace_s, grace_s)
    result.metadata.generation = old.metadata.generation + 1
    if kind is NAMESPACES or kind is TENANTS:
        result.status.phase = "Terminating"
    return result


def _dated(old: Any, at_s: int, grace_s: int) -> Any:
    result = type(old)()
    result.CopyFrom(old)
    result.metadata.deletion_timestamp.Clear()
    result.metadata.deletion_timestamp.seconds = at_s
    result.metadata.deletion_grace_period_seconds = grace_s
    return result
