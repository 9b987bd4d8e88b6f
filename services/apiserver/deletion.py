"""What a delete makes of an object: pure rules (apiserver ``pkg/registry/rest`` BeforeDelete, pod strategy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.api.kinds import NAMESPACES, PODS, TENANTS, Kind
from services.apiserver import objects
from services.rpc import status
from services.rpc.status import Violation

DEFAULT_GRACE_S = 30
POLICIES = ("", "Background", "Orphan")
_TERMINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True)
class DeleteOptions:
    """``grace_period_seconds`` None: the object's own. ``uid``, ``resource_version``: preconditions, if not empty."""

    grace_period_seconds: int | None = None
    uid: str = ""
    resource_version: int = 0


def check_request(request: Any) -> DeleteOptions:
    """The options of a DeleteRequest. Raises ``StatusError``."""
    violations = []
    if request.propagation_policy not in POLICIES:
        violations.append(
            Violation("propagation_policy", f'"{request.propagation_policy}" is none of Background, Orphan')
        )
    grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
    if grace is not None and grace < 0:
        violations.append(Violation("grace_period_seconds", f"must not be negative, is {grace}"))
    if request.preconditions.resource_version < 0:
        violations.append(Violation("preconditions.resource_version", "must not be negative"))
    if violations:
        raise status.invalid(violations, subject="the request")
    return DeleteOptions(grace, request.preconditions.uid, request.preconditions.resource_version)


def deleted(kind: Kind, old: Any, revision: int, options: DeleteOptions, *, now_s: int) -> Any | None:
    """The object as the delete leaves it: a changed copy, ``old`` itself (nothing to do), or None (removed).

    Raises ``StatusError`` when a precondition fails.
    """
    objects.check_preconditions(kind, old, revision, uid=options.uid, resource_version=options.resource_version)
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
