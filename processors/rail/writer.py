"""What the rail adapter writes: its own record, and its reports. Comes back when Kafka has them."""

from __future__ import annotations

from typing import Final

import structlog

from core.header import InputHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.words import ReportKind
from engine.clock import Clock
from engine.tracing import as_headers, passed_on
from gateways.ports import Rail, RecallAnswer, StatusAnswer, SubmitAnswer
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Ownership, Publisher, Work
from processors.rail.record import SubmissionRecord
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.rail.handler")

Answer = SubmitAnswer | StatusAnswer | RecallAnswer
# These are our adapter's own words, or change nothing: they carry no message of the rail's.
OWN_WORDS: Final = frozenset(
    {"STATUS", "RECEIVED", "WITHDRAWN", "NOT_SUBMITTED", "ALREADY_SUBMITTED"}
)


class NotOursError(Exception):
    """Another instance has the partition: say nothing, submit nothing."""


class RailWriter:
    """Each call raises NotConfirmed when Kafka does not take the record."""

    def __init__(
        self,
        *,
        rail: Rail,
        record: SubmissionRecord,
        ownership: Ownership,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        metrics: AdapterMetrics,
    ) -> None:
        self._rail = rail
        self._record = record
        self._ownership = ownership
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._metrics = metrics

    def put(
        self, work: Work, phase: str, *, tries: int, answer: SubmitAnswer | None = None
    ) -> None:
        """Write the own record, in the submission's partition, before anything follows from it."""
        instruction: RailInstruction = work.instruction
        submission = RailSubmission(
            external_ref=instruction.external_ref,
            payment_intent_id=instruction.header.payment_intent_id,
            phase=phase,
            submit_before=work.limit_ms,
            at=self._clock.now_ms(),
            tries=tries,
            rail_ref=None if answer is None else answer.rail_ref,
            technical_result=None if answer is None else answer.technical_result,
        )
        topic = topology.RAIL_SUBMITTED
        value = self._codec.encode(topic, submission)
        key = instruction.external_ref.encode()
        self._publisher.publish(topic, key, value, partition=work.record.partition)
        self._record.put(submission)

    def confirm(self, work: Work) -> None:
        """Raises NotOursError unless the group confirms that the partition is ours."""
        if not self._ownership.confirm(work.record.partition):
            raise NotOursError

    def certain(
        self,
        work: Work,
        kind: str,
        *,
        answer: SubmitAnswer | StatusAnswer | None = None,
        details: str | None = None,
    ) -> None:
        """WITHDRAWN or NOT_SUBMITTED, as its phase is called: from here on nobody submits it, so a
        retry may be made.

        Raises NotOursError: another instance may know better.
        """
        self.confirm(work)
        asked = isinstance(answer, StatusAnswer)
        self.report(
            work,
            "WITHDRAWN" if kind == "WITHDRAWN" else "NOT_SUBMITTED",
            answer=answer,
            is_enquiry=asked,
            details=details,
            adapter_stopped=True,
        )

    def unknown(
        self, work: Work, answer: StatusAnswer | RecallAnswer, code: str, *, adapter_stopped: bool
    ) -> None:
        """The rail does not know the reference. That the adapter has stopped makes it certain.

        Raises NotOursError then, as `certain` does.
        """
        if adapter_stopped:
            self.confirm(work)
        self.report(
            work,
            "STATUS",
            code=code,
            answer=answer,
            is_enquiry=True,
            adapter_stopped=adapter_stopped,
        )

    def report(
        self,
        work: Work,
        kind: ReportKind,
        *,
        code: str | None = None,
        answer: Answer | None = None,
        is_enquiry: bool = False,
        details: str | None = None,
        adapter_stopped: bool = False,
    ) -> None:
        """Publish a RailReport."""
        instruction: RailInstruction = work.instruction
        payment_id = instruction.header.payment_intent_id
        told = kind not in OWN_WORDS
        report = RailReport(
            header=InputHeader(
                payment_intent_id=payment_id,
                sent_at=self._clock.now_ms(),
                traceparent=instruction.header.traceparent,
            ),
            external_ref=instruction.external_ref,
            kind=kind,
            adapter=self._rail.name,
            code=code,
            amount=getattr(answer, "amount", None) if told else None,
            currency=getattr(answer, "currency", None) if told else None,
            rail_message_id=getattr(answer, "message_id", None) if told else None,
            transaction_id=getattr(answer, "transaction_id", None),
            details=details or getattr(answer, "details", None),
            submitted_at=None if answer is None else answer.submitted_at,
            answered_at=None if answer is None else answer.answered_at,
            technical_result=None if answer is None else answer.technical_result,
            via_enquiry=is_enquiry,
            adapter_stopped=adapter_stopped,
        )
        topic = topology.RAIL_REPORTS
        value, headers = self._codec.encode(topic, report), as_headers(passed_on())
        self._publisher.publish(topic, payment_id.encode(), value, headers=headers)
        self._metrics.reports.labels("rail", kind).inc()
        log.info(
            "rail report",
            external_ref=instruction.external_ref,
            instruction=instruction.kind,
            kind=kind,
            code=code,
            via_enquiry=is_enquiry,
            adapter_stopped=adapter_stopped,
            technical_result=report.technical_result,
        )
