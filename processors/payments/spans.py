"""One span for each input: from when it was polled until its decision is committed. Only where a
collector is named; else the processor has none of this.
"""

from __future__ import annotations

from typing import Any

from engine.ports import InputRecord
from engine.tracing import Span, Tracer, carried_by, of_record
from processors.payments.packing import Known


class DecisionSpans:
    """Spans of the batch in hand."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: list[tuple[Span, str]] = []

    def begin(self, record: InputRecord, command: Any, known: Known | None) -> Span:
        """Below what passed the input on; a callback's or a timer's is in the payment's trace."""
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
        """The batch did not happen, nor did its spans."""
        self._open.clear()
