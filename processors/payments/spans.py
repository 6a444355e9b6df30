"""One span for each input, from its poll to the commit of its decision, if a collector is
configured. Also the fields by which a log line names an input.
"""

from __future__ import annotations

import re
from typing import Any, Final

from engine.ports import InputRecord
from engine.tracing import Span, Tracer, carried_by, of_record, trace_id
from processors.payments.packing import Known

_PAYMENT_ID: Final = re.compile(rb"pi_[a-z2-7]{26}")


def named(record: InputRecord) -> dict[str, str]:
    """Payment and trace of an input, for the log; empty if its key is not a payment id, because
    such a key may hold anything.
    """
    if record.key is None or _PAYMENT_ID.fullmatch(record.key) is None:
        return {}
    payment = record.key.decode("ascii")
    found = trace_id(carried_by(record.headers), payment)
    return {"payment_intent_id": payment, "trace_id": found}


class DecisionSpans:
    """The spans of the current batch."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: list[tuple[Span, str]] = []

    def begin(self, record: InputRecord, command: Any, known: Known | None) -> Span:
        """A child of the span that sent the input; for a callback or a timer, a span in the
        payment's trace.
        """
        parent = carried_by(record.headers) or command.header.traceparent
        if parent is None and known is not None:
            parent = known.payment.traceparent
        name, payment = type(command).__name__, command.header.payment_intent_id
        attributes = of_record(record, payment)
        return self._tracer.begin(f"decide {name}", parent, payment, attributes)

    def decided(self, span: Span, outcome: str) -> None:
        """`outcome` names what was decided; the span ends with the batch's commit."""
        self._open.append((span, outcome))

    def committed(self) -> None:
        for span, outcome in self._open:
            span.end(outcome)
        self._open.clear()

    def dropped(self) -> None:
        """The batch was aborted: discard its spans."""
        self._open.clear()
