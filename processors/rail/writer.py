"""What the rail adapter writes: its own record and its reports. Each call waits for Kafka."""

from __future__ import annotations

from typing import Final

import structlog

from core.header import InputHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.words import ReportKind, SubmissionPhase
from engine.clock import Clock
from engine.tracing import as_headers, passed_on
from gateways.ports import Rail, RecallAnswer, StatusAnswer, SubmitAnswer
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Ownership, Publisher, Work
from processors.rail.record import SubmissionRecord
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.rail.writer")

Answer = SubmitAnswer | StatusAnswer | RecallAnswer
# Reports that the adapter makes itself, or that change no state: they carry no rail message id.
OWN_WORDS: Final = frozenset(
    {"STATUS", "RECEIVED", "WITHDRAWN", "NOT_SUBMITTED", "ALREADY_SUBMITTED"}
)


class NotOursError(Exception):
    """The group does not confirm that the partition is ours: report nothing, submit nothing."""


class RailWriter:
    """Each call raises NotConfirmed if Kafka does not confirm the record."""

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
        self, work: Work, phase: SubmissionPhase, *, tries: int, answer: SubmitAnswer | None = None
    ) -> None:
        """Write the own record, in the instruction's partition; the caller acts on it afterwards.
        `tries`: how often the submission was sent to the rail.
        """
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
        kind: SubmissionPhase,
        *,
        answer: SubmitAnswer | StatusAnswer | None = None,
        details: str | None = None,
    ) -> None:
        """Report WITHDRAWN or NOT_SUBMITTED: it is never submitted from here on, so a retry is
        possible (ruling 3).

        Raises NotOursError unless the partition is ours: another instance may have submitted it.
        """
        self.confirm(work)
        requested = isinstance(answer, StatusAnswer)
        self.report(
            work,
            "WITHDRAWN" if kind == "WITHDRAWN" else "NOT_SUBMITTED",
            answer=answer,
            is_enquiry=requested,
            details=details,
            adapter_stopped=True,
        )

    def unknown(
        self, work: Work, answer: StatusAnswer | RecallAnswer, code: str, *, adapter_stopped: bool
    ) -> None:
        """Report that the rail does not know the reference. `adapter_stopped`: and that this
        adapter will never submit it; then it raises NotOursError like `certain`.
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
        """Publish a RailReport. It carries the times of a submission, or of an enquiry if it is
        marked as one; not those of a recall, which would count as a submission's (decision 21).
        """
        instruction: RailInstruction = work.instruction
        payment_id = instruction.header.payment_intent_id
        from_rail = kind not in OWN_WORDS
        timed = answer if is_enquiry or isinstance(answer, SubmitAnswer) else None
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
            amount=getattr(answer, "amount", None) if from_rail else None,
            currency=getattr(answer, "currency", None) if from_rail else None,
            rail_message_id=getattr(answer, "message_id", None) if from_rail else None,
            transaction_id=getattr(answer, "transaction_id", None),
            details=details or getattr(answer, "details", None),
            submitted_at=None if timed is None else timed.submitted_at,
            answered_at=None if timed is None else timed.answered_at,
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
