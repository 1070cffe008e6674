from datetime import datetime
from typing import Any


def nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000_000)


def send(tracer: Any, span: Any, context: Any = None) -> None:
    from opentelemetry import trace

    sent = tracer.start_span(span.name, context=context, start_time=nanoseconds(span.start), attributes=span.attributes)
    if "error.type" in span.attributes:
        sent.set_status(trace.StatusCode.ERROR)
    for child in span.children:
        send(tracer, child, trace.set_span_in_context(sent))
    sent.end(end_time=nanoseconds(span.end))
