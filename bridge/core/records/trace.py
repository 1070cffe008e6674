"""W3C trace context for events: derived from session, epoch and number, so that a repeat has the same value. Pure.

All events of one epoch of a session are one trace; each event is one span. The bridge sends no spans: the value lets
a consumer's own spans refer to the event that caused them.
"""

from __future__ import annotations

from hashlib import blake2b

from bridge.core.identity import SessionKey

HEADER = "traceparent"
_TRACE_BYTES, _SPAN_BYTES = 16, 8


def traceparent(key: SessionKey, epoch: str, number: int) -> str:
    """Return the value for one event: version 00, the trace id, the span id, and the flag *sampled*.

    ``epoch``: 10 digits. The ids are digests; one of zeros only, which is invalid, has a probability of 2**-64.
    """
    origin = f"{key}:{epoch}"
    trace = blake2b(origin.encode(), digest_size=_TRACE_BYTES).hexdigest()
    span = blake2b(f"{origin}:{number}".encode(), digest_size=_SPAN_BYTES).hexdigest()
    return f"00-{trace}-{span}-01"
