"""The trace of a pod begins where it is created: the context is stored in the pod, and everyone after follows it.

Nothing here costs anything unless this process exports traces or the client asked for one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from services.base import telemetry
from services.rpc.handlers import Context
from services.rpc.methods import TRACEPARENT

CREATE_SPAN = "ursa.api.create"
COMMIT_SPAN = "ursa.storage.commit"


def parent_of(context: Context) -> str:
    """The traceparent that the client sent, if its trace is sampled; else ""."""
    for key, value in context.invocation_metadata() or ():
        if key == TRACEPARENT and isinstance(value, str) and telemetry.is_sampled(value):
            return value
    return ""


@contextlib.contextmanager
def create_span(parent: str, obj: Any) -> Iterator[None]:
    """A create's span; without a parent the sampling ratio decides. A sampled context is written into ``obj``."""
    span = telemetry.span(CREATE_SPAN, parent=parent) if parent else telemetry.root_span(CREATE_SPAN)
    with span:
        traceparent = telemetry.current_traceparent()
        if traceparent:
            obj.metadata.annotations[telemetry.TRACEPARENT_ANNOTATION] = traceparent
        yield


@contextlib.contextmanager
def commit_spans(objs: Sequence[Any]) -> Iterator[None]:
    """One span for the commit of each of ``objs`` whose trace is sampled."""
    with contextlib.ExitStack() as stack:
        for obj in objs:
            parent = obj.metadata.annotations.get(telemetry.TRACEPARENT_ANNOTATION, "")
            if parent and telemetry.is_sampled(parent):
                stack.enter_context(telemetry.span(COMMIT_SPAN, parent=parent))
        yield
