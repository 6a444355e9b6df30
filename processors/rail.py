"""The rail adapter's decisions: submit once, withdraw, recall, enquire. Knows no Kafka client.

SUBMITTING is written before the HTTP call. Whatever is not certain is enquired before it is sent
again (with the same reference); what is old and not in the own record is enquired first of all.
A report of something certain is made only after the group confirmed that the partition is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from adapters import ports
from adapters.ports import Rail, StatusAnswer, SubmitAnswer
from core.header import InputHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.values import Parties
from engine.clock import Clock
from processors import rail_record as phases
from processors import topology
from processors.adapter_metrics import AdapterMetrics
from processors.adapter_ports import Codec, LookAhead, OpenParties, Ownership, Publisher, Work
from processors.rail_record import SubmissionRecord

log = structlog.get_logger("processors.rail")

INSTRUCTION_AGE_MS_MAX: Final = 86_400_000  # older ones are never submitted, whatever they say
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0
HOLD_S: Final = 0.05  # until the partition is read to its end
STOPPED_S: Final = 0.25
NOT_OURS_S: Final = 1.0  # until the rebalance clears the lanes
ANSWER_TRIES_MAX: Final = 5  # of a question to a rail that does not answer

# What an enquiry's answer means as a report.
KIND_OF_STATUS: Final = {
    ports.RECEIVED: "STATUS",
    ports.ACCEPTED: "ACCEPTED",
    ports.SETTLED: "SETTLED",
    ports.REJECTED: "REJECTED",
    ports.EXPIRED: "EXPIRED",
    ports.RETURNED: "RETURNED",
    ports.RECALLED: "RECALL_ACCEPTED",
}
CODE_UNKNOWN: Final = "UNKNOWN"  # STATUS: the rail does not know the reference
CODE_PENDING: Final = "PDNG"  # STATUS: the rail has it and says no more
CODE_NO_ANSWER: Final = "NO_ANSWER"  # STATUS: nothing readable came


class NotOursError(Exception):
    """Another instance has the partition: say nothing, submit nothing."""


class RailDesk:
    """Handles one instruction of a payment at a time: `handle` gives the seconds until again."""

    def __init__(
        self,
        *,
        rail: Rail,
        record: SubmissionRecord,
        ahead: LookAhead,
        ownership: Ownership,
        publisher: Publisher,
        codec: Codec,
        open_parties: OpenParties,
        clock: Clock,
        stopped: Callable[[], str | None],
        metrics: AdapterMetrics,
    ) -> None:
        self._rail = rail
        self._record = record
        self._ahead = ahead
        self._ownership = ownership
        self._publisher = publisher
        self._codec = codec
        self._open_parties = open_parties
        self._clock = clock
        self._stopped = stopped
        self._metrics = metrics

    def handle(self, work: Work) -> float | None:
        """One step of one instruction. Raises NotConfirmed when Kafka does not take a record."""
        try:
            match work.instruction.kind:
                case "SUBMIT":
                    return self._submit(work)
                case "WITHDRAW":
                    return self._withdraw(work)
                case "ENQUIRE":
                    return self._enquire(work)
                case "RECALL":
                    return self._recall(work)
                case _:
                    # A kind of a later release: the payment's overdue mark brings it to a person.
                    log.error("unknown rail instruction", kind=work.instruction.kind)
                    return None
        except NotOursError:
            log.warning("rail partition is not ours", partition=work.record.partition)
            return NOT_OURS_S

    # -- submit ------------------------------------------------------------------------------------

    def _submit(self, work: Work) -> float | None:
        reference = work.instruction.external_ref
        known = self._record.get(reference)
        is_withdrawn = self._ahead.is_withdrawn(reference)
        if self._stopped() is not None and not is_withdrawn:
            return STOPPED_S
        if known is None:
            if is_withdrawn:
                return None  # answered where its withdraw is handled
            if work.is_old or self._is_late(work):
                return self._ask_first(work, tries=0)
            return self._begin(work, tries=1)
        if known.phase == phases.SUBMITTING:
            return self._ask_first(work, tries=known.tries)
        if known.phase in (phases.WITHDRAWN, phases.NOT_SUBMITTED):
            self._report_certain(work, known.phase)
        return None

    def _ask_first(self, work: Work, *, tries: int) -> float | None:
        """Nobody here knows for sure whether the rail has it: only its own word decides."""
        answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if not self._is_late(work) or work.tries < ANSWER_TRIES_MAX:
                return self._pause_s(work)
            self._report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer, is_enquiry=True)
            return None
        if answer.status != ports.UNKNOWN:
            self._conclude(work, answer)
            return None
        if self._is_late(work):
            self._put(work, phases.NOT_SUBMITTED, tries=tries)
            self._report_certain(work, phases.NOT_SUBMITTED, answer=answer)
            return None
        if self._ahead.is_withdrawn(work.instruction.external_ref):
            return None  # never sent again; the withdraw behind it is answered by the own record
        return self._begin(work, tries=tries + 1)

    def _begin(self, work: Work, *, tries: int) -> float | None:
        """Write SUBMITTING, make sure that the partition is ours, and only then call the rail."""
        hold_s = self._hold_s(work)
        if hold_s is not None:
            return hold_s
        parties = self._parties(work)
        if parties is None:
            if tries > 1:
                return None  # it was sent before: enquiries find out
            self._put(work, phases.NOT_SUBMITTED, tries=0)
            self._report_certain(work, phases.NOT_SUBMITTED, details="unreadable party details")
            return None
        self._put(work, phases.SUBMITTING, tries=tries)
        self._confirm(work)
        hold_s = self._hold_s(work)
        if hold_s is not None:
            return hold_s  # comes back as SUBMITTING, so it is enquired before it is sent
        if self._is_late(work) or self._ahead.is_withdrawn(work.instruction.external_ref):
            return HOLD_S
        answer = self._rail.submit(work.instruction, parties)
        self._called("submit", answer.outcome, answer.answered_at - answer.submitted_at)
        return self._answered(work, answer, tries)

    def _answered(self, work: Work, answer: SubmitAnswer, tries: int) -> float | None:
        match answer.outcome:
            case ports.RECEIVED:
                self._report(work, "RECEIVED", answer=answer)
                self._put(work, phases.SUBMITTED, tries=tries, answer=answer)
            case ports.REJECTED:
                self._report(work, "REJECTED", code=answer.code, answer=answer)
                self._put(work, phases.REFUSED, tries=tries, answer=answer)
            case ports.TOO_LATE:
                self._put(work, phases.NOT_SUBMITTED, tries=tries, answer=answer)
                self._report_certain(work, phases.NOT_SUBMITTED, answer=answer)
            case _:
                self._report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer)
                work.tries += 1
                return self._pause_s(work)
        return None

    def _hold_s(self, work: Work) -> float | None:
        """Seconds to wait before a submission may be made, or None when it may be made now."""
        if self._stopped() is not None:
            return STOPPED_S
        return None if self._ahead.is_fresh(work.record.partition) else HOLD_S

    def _parties(self, work: Work) -> Parties | None:
        sealed = work.instruction.parties
        try:
            return None if sealed is None else self._open_parties(sealed)
        except ValueError:
            log.exception("party details unreadable", external_ref=work.instruction.external_ref)
            return None

    # -- withdraw, enquire, recall -----------------------------------------------------------------

    def _withdraw(self, work: Work) -> float | None:
        reference = work.instruction.external_ref
        known = self._record.get(reference)
        if known is None and (work.is_old or self._is_late(work)):
            answer = self._status(work)
            if answer.status == ports.NO_ANSWER:
                work.tries += 1
                if work.tries < ANSWER_TRIES_MAX:
                    return self._pause_s(work)
                # It may have been submitted by an earlier run: say the safer of the two.
                self._report(work, "ALREADY_SUBMITTED", answer=answer)
                self._ahead.forget(reference)
                return None
            if answer.status != ports.UNKNOWN:
                self._put(work, phases.SUBMITTED, tries=0)
                known = self._record.get(reference)
        if known is None:
            self._put(work, phases.WITHDRAWN, tries=0)
            self._report_certain(work, phases.WITHDRAWN)
        elif known.phase in (phases.WITHDRAWN, phases.NOT_SUBMITTED):
            self._report_certain(work, known.phase)
        else:
            self._report(work, "ALREADY_SUBMITTED")
        self._ahead.forget(reference)
        return None

    def _enquire(self, work: Work) -> float | None:
        answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if work.tries < ANSWER_TRIES_MAX:
                return self._pause_s(work)
            self._report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer, is_enquiry=True)
        elif answer.status == ports.UNKNOWN:
            self._report(work, "STATUS", code=CODE_UNKNOWN, answer=answer, is_enquiry=True)
        else:
            self._report_status(work, answer)
        return None

    def _recall(self, work: Work) -> float | None:
        if self._stopped() is not None:
            return STOPPED_S
        instruction: RailInstruction = work.instruction
        answer = self._rail.recall(instruction.external_ref, number=instruction.number)
        self._called("recall", answer.outcome, answer.answered_at - answer.submitted_at)
        match answer.outcome:
            case ports.RECALL_ACCEPTED | ports.RECALL_REFUSED:
                self._report(work, answer.outcome, code=answer.code, answer=answer)
            case ports.RECALL_PENDING:
                self._report(work, "STATUS", code=CODE_PENDING, answer=answer)
            case ports.UNKNOWN:
                self._report(work, "STATUS", code=CODE_UNKNOWN, answer=answer, is_enquiry=True)
            case _:
                work.tries += 1
                if work.tries < ANSWER_TRIES_MAX:
                    return self._pause_s(work)
                self._report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer)
        return None

    # -- leaves ------------------------------------------------------------------------------------

    def _status(self, work: Work) -> StatusAnswer:
        answer = self._rail.status(work.instruction.external_ref)
        self._called("status", answer.status, answer.answered_at - answer.submitted_at)
        return answer

    def _conclude(self, work: Work, answer: StatusAnswer) -> None:
        """The rail has it: say what it says, then remember that it has it."""
        self._report_status(work, answer)
        refused = answer.status == ports.REJECTED
        self._put(work, phases.REFUSED if refused else phases.SUBMITTED, tries=0)

    def _report_status(self, work: Work, answer: StatusAnswer) -> None:
        kind = KIND_OF_STATUS[answer.status]
        if kind == "RETURNED":
            # A return follows a settlement that nobody may have heard of.
            settled = msgspec.structs.replace(answer, message_id=None)
            self._report(work, "SETTLED", answer=settled, is_enquiry=True)
            returned = msgspec.structs.replace(answer, amount=answer.returned_amount)
            self._report(work, kind, code=answer.code, answer=returned, is_enquiry=True)
            return
        code = CODE_PENDING if kind == "STATUS" else answer.code
        self._report(work, kind, code=code, answer=answer, is_enquiry=True)

    def _is_late(self, work: Work) -> bool:
        return self._clock.now_ms() >= work.limit_ms

    @staticmethod
    def _pause_s(work: Work) -> float:
        return min(PAUSE_S_MAX, PAUSE_S_FIRST * float(2 ** min(work.tries, 10)))

    def _put(
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

    def _confirm(self, work: Work) -> None:
        if not self._ownership.confirm(work.record.partition):
            raise NotOursError

    def _report_certain(
        self,
        work: Work,
        kind: str,
        *,
        answer: SubmitAnswer | StatusAnswer | None = None,
        details: str | None = None,
    ) -> None:
        """WITHDRAWN and NOT_SUBMITTED: from here on nobody submits it, so a retry may be made."""
        self._confirm(work)
        asked = isinstance(answer, StatusAnswer)
        self._report(work, kind, answer=answer, is_enquiry=asked, details=details)

    def _report(
        self,
        work: Work,
        kind: str,
        *,
        code: str | None = None,
        answer: Any = None,
        is_enquiry: bool = False,
        details: str | None = None,
    ) -> None:
        """Publish a RailReport; comes back when Kafka has it."""
        instruction: RailInstruction = work.instruction
        payment_id = instruction.header.payment_intent_id
        told = kind not in ("STATUS", "RECEIVED", "WITHDRAWN", "NOT_SUBMITTED", "ALREADY_SUBMITTED")
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
            adapter_stopped=self._has_stopped(work),
        )
        key = payment_id.encode()
        topic = topology.RAIL_REPORTS
        self._publisher.publish(topic, key, self._codec.encode(topic, report))
        self._metrics.reports.labels("rail", kind).inc()
        log.info(
            "rail report",
            external_ref=instruction.external_ref,
            instruction=instruction.kind,
            kind=kind,
            code=code,
            via_enquiry=is_enquiry,
            technical_result=report.technical_result,
        )

    def _has_stopped(self, work: Work) -> bool:
        """True when this adapter will never again submit the reference."""
        known = self._record.get(work.instruction.external_ref)
        return self._is_late(work) or (known is not None and known.phase in phases.FINAL_PHASES)

    def _called(self, operation: str, outcome: str, millis: int) -> None:
        self._metrics.called("rail", operation, outcome, millis)
