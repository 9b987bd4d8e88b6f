"""The kubelet's span of a pod's trace: from its first sight on the node to its being reported Running."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.base.telemetry import TRACEPARENT_ANNOTATION
from services.kubelet.instructions import Trace

SPAN = "ursa.kubelet.run"

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("ursa")


def record(done: Trace, *, node: str, partition: str) -> None:
    """For pods that carry a sampled trace only. The span is over when it is recorded, so it gets both times by hand."""
    metadata = done.pod.metadata
    context = _PROPAGATOR.extract({"traceparent": metadata.annotations[TRACEPARENT_ANNOTATION]})
    span = _TRACER.start_span(
        SPAN,
        context=context,
        start_time=int(done.start_s * 1e9),
        attributes={
            "ursa.tenant": metadata.tenant,
            "ursa.pod": f"{metadata.namespace}/{metadata.name}",
            "ursa.pod.uid": metadata.uid,
            "ursa.node": node,
            "ursa.resource_partition": partition,
        },
    )
    span.end(int(done.end_s * 1e9))
