"""The rail adapter's decisions: submit once, withdraw, recall, enquire. Knows no Kafka client.

SUBMITTING is written before the HTTP call. If it is uncertain whether the rail has a submission,
or if an old one is not in the own record, the rail is asked before anything is sent; a resend uses
the same externalRef. A report that makes non-payment certain is published only after the consumer
group confirmed that the partition is ours. Rules: ruling 8.

Lanes (processors.rail.worker): WITHDRAW, RECALL and SUBMIT of one reference never run at once, and
run in that order; an ENQUIRE has a lane of its own. So a withdrawal finds its SUBMIT in one of
these states:

    SUBMIT waits, or was never begun ──▶ WITHDRAWN
    SUBMIT waits in SUBMITTING ────────▶ ALREADY_SUBMITTED (SUBMITTING); it is never sent again, and
                                         is NOT_SUBMITTED if the rail does not know it in the end
    SUBMIT was answered ───────────────▶ ALREADY_SUBMITTED (SUBMITTED)
    unknown ───────────────────────────▶ ALREADY_SUBMITTED (RECORD_INCOMPLETE)

Once a withdrawal has been read ahead, its reference is never sent, from any lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

import msgspec
import structlog

from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.values import Parties
from core.words import ReportKind, SubmissionPhase
from engine.clock import Clock
from gateways import ports
from gateways.ports import Rail, StatusAnswer, SubmitAnswer
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import LookAhead, Work
from processors.rail import record as phases
from processors.rail.record import SubmissionRecord
from processors.rail.writer import NotOursError, RailWriter
from schemas.codec.parties import open_parties

log = structlog.get_logger("processors.rail.handler")

INSTRUCTION_AGE_MS_MAX: Final = 86_400_000  # on the topic; older ones are never submitted
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0
HOLD_S: Final = 0.05  # until the look-ahead has read to the end, or a withdrawal is answered
STOPPED_S: Final = 0.25
NOT_OURS_S: Final = 1.0  # until the rebalance clears the lanes
# Calls to a rail that does not answer. A call takes at most 10 s, a pause 5 s.
ANSWER_TRIES_MAX: Final = 5
WITHDRAW_TRIES_MAX: Final = 2
ENQUIRY_TRIES_MAX: Final = 2  # core repeats the request
RECALL_TRIES_MAX: Final = 30  # core requests it only once
# Longer than any call lasts: one that started before submitBefore has ended by then.
CALLS_END_MS: Final = 20_000

# The report for each answer to an enquiry.
KIND_OF_STATUS: Final[dict[str, ReportKind]] = {
    ports.RECEIVED: "STATUS",
    ports.ACCEPTED: "ACCEPTED",
    ports.SETTLED: "SETTLED",
    ports.REJECTED: "REJECTED",
    ports.EXPIRED: "EXPIRED",
    ports.RETURNED: "RETURNED",
    ports.RECALLED: "RECALL_ACCEPTED",
}
CODE_UNKNOWN: Final = "UNKNOWN"  # STATUS: the rail does not know the reference
CODE_PENDING: Final = "PDNG"  # STATUS: the rail has it and has not decided yet
CODE_NO_ANSWER: Final = "NO_ANSWER"  # STATUS: the rail gave no readable answer
NOT_ASKED: Final = "NOT_ASKED"  # technical result: not sent to a silent rail, too many wait

# Codes of ALREADY_SUBMITTED: what it is based on (ruling 3).
SUBMITTED: Final = "SUBMITTED"  # the rail accepted it, or reported that it knows it: evidence
SUBMITTING: Final = "SUBMITTING"  # it may have been sent: no evidence
RECORD_INCOMPLETE: Final = "RECORD_INCOMPLETE"  # our record does not say: no evidence


class RailAdapter:
    """Handles one instruction at a time. Knows what it submitted only from the record."""

    def __init__(
        self,
        *,
        rail: Rail,
        record: SubmissionRecord,
        ahead: LookAhead,
        writer: RailWriter,
        clock: Clock,
        stopped: Callable[[], str | None],
        crowded: Callable[[], bool],
        metrics: AdapterMetrics,
    ) -> None:
        """`stopped`: the reason of a STOP, or None. `crowded`: too many instructions wait to send
        enquiries to a rail that does not answer.
        """
        self._rail = rail
        self._record = record
        self._ahead = ahead
        self._writer = writer
        self._clock = clock
        self._stopped = stopped
        self._crowded = crowded
        self._metrics = metrics
        self._is_silent = False  # the rail did not answer the last enquiry

    def handle(self, work: Work) -> float | None:
        """One step of one instruction: seconds until the next step, or None when it is done.

        Raises NotConfirmed if Kafka does not confirm a record.
        """
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
                    # A later release's kind: when the payment is overdue, a person sees it.
                    log.error("unknown rail instruction", kind=work.instruction.kind)
                    return None
        except NotOursError:
            log.warning("rail partition is not ours", partition=work.record.partition)
            return NOT_OURS_S

    # -- submit ------------------------------------------------------------------------------------

    def _submit(self, work: Work) -> float | None:
        reference = work.instruction.external_ref
        known = self._record.get(reference)
        if known is not None and known.phase != phases.SUBMITTING:
            if known.phase in phases.UNSENT:
                self._writer.certain(work, known.phase)
            return None
        is_withdrawn = self._ahead.is_withdrawn(reference)
        if self._stopped() is not None and not is_withdrawn:
            return STOPPED_S
        if known is not None:
            return self._ask_first(work, tries=known.tries)
        if work.is_old or self._is_late(work):
            return self._ask_first(work, tries=0)
        return self._begin(work, tries=1)

    def _ask_first(self, work: Work, *, tries: int) -> float | None:
        """Ask the rail first: we do not know whether it has the submission."""
        answer = self._status(work)
        is_final = answer.submitted_at >= work.limit_ms  # if the rail then says unknown
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if not is_final or work.tries < ANSWER_TRIES_MAX:
                return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
            self._writer.report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer, is_enquiry=True)
            return None
        if answer.status != ports.UNKNOWN:
            self._conclude(work, answer)
            return None
        if is_final:
            self._writer.put(work, phases.NOT_SUBMITTED, tries=tries)
            self._writer.certain(work, phases.NOT_SUBMITTED, answer=answer)
            return None
        if self._ahead.is_withdrawn(work.instruction.external_ref):
            work.tries += 1
            return work.pause_s(
                PAUSE_S_FIRST, PAUSE_S_MAX
            )  # never sent again: enquire until submitBefore has passed
        return self._begin(work, tries=tries + 1)

    def _begin(self, work: Work, *, tries: int) -> float | None:
        """Write SUBMITTING, confirm that the partition is ours, and only then call the rail."""
        hold_s = self._hold_s(work)
        if hold_s is not None:
            return hold_s
        parties = self._parties(work)
        if parties is None:
            if tries > 1:
                return None  # it was sent before: core's enquiries find out what became of it
            self._writer.put(work, phases.NOT_SUBMITTED, tries=0)
            details = "unreadable party details"
            self._writer.certain(work, phases.NOT_SUBMITTED, details=details)
            return None
        self._writer.put(work, phases.SUBMITTING, tries=tries)
        self._writer.confirm(work)
        hold_s = self._hold_s(work)
        if hold_s is not None:
            return hold_s  # the next step finds SUBMITTING, so it asks the rail before it sends
        answer = self._rail.submit(work.instruction, parties)
        self._called("submit", answer.outcome, answer.answered_at - answer.submitted_at)
        return self._answered(work, answer, tries)

    def _answered(self, work: Work, answer: SubmitAnswer, tries: int) -> float | None:
        match answer.outcome:
            case ports.RECEIVED:
                self._writer.report(work, "RECEIVED", answer=answer)
                self._writer.put(work, phases.SUBMITTED, tries=tries, answer=answer)
            case ports.REJECTED:
                self._writer.report(work, "REJECTED", code=answer.code, answer=answer)
                self._writer.put(work, phases.REFUSED, tries=tries, answer=answer)
            case ports.TOO_LATE:
                self._writer.put(work, phases.NOT_SUBMITTED, tries=tries, answer=answer)
                self._writer.certain(work, phases.NOT_SUBMITTED, answer=answer)
            case ports.UNCLEAR:
                self._writer.report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer)
                work.tries += 1
                return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
            case _:
                assert_never(answer.outcome)
        return None

    def _hold_s(self, work: Work) -> float | None:
        """Seconds to wait before the submission, or None if it may be made now.

        A late or withdrawn one is never made; a later step, or its withdrawal, reports that.
        """
        if self._stopped() is not None:
            return STOPPED_S
        if not self._ahead.is_fresh(work.record.partition):
            return HOLD_S
        if self._is_late(work) or self._ahead.is_withdrawn(work.instruction.external_ref):
            return HOLD_S
        return None

    def _parties(self, work: Work) -> Parties | None:
        sealed = work.instruction.parties
        try:
            return None if sealed is None else open_parties(sealed)
        except ValueError:
            log.exception("party details unreadable", external_ref=work.instruction.external_ref)
            return None

    # -- withdraw ----------------------------------------------------------------------------------

    def _withdraw(self, work: Work) -> float | None:
        """WITHDRAWN only if the own record certainly reaches back to the SUBMIT and has no
        SUBMITTING, or the rail says unknown after submitBefore; else ALREADY_SUBMITTED (ruling 8).
        """
        reference = work.instruction.external_ref
        known = self._record.get(reference)
        phase = None if known is None else known.phase
        if phase in phases.UNSENT:
            self._writer.certain(work, phase)
        elif phase is not None and phase != phases.SUBMITTING:
            self._already(work, SUBMITTED)
        elif phase is None and self._record.is_new(reference):
            self._withdrawn(work, phases.WITHDRAWN)
        elif self._is_late(work):
            return self._withdraw_late(work, tries=0 if known is None else known.tries)
        elif phase is not None:
            self._already(work, SUBMITTING)
        else:
            self._withdraw_unrecorded(work)
        return None

    def _withdraw_late(self, work: Work, *, tries: int) -> float | None:
        """After submitBefore only the rail's own answer is final."""
        answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if work.tries < WITHDRAW_TRIES_MAX:
                return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
            self._already(work, SUBMITTING if tries else RECORD_INCOMPLETE, answer=answer)
        elif answer.status == ports.UNKNOWN:
            unsent: SubmissionPhase = phases.NOT_SUBMITTED if tries else phases.WITHDRAWN
            self._withdrawn(work, unsent, tries=tries, answer=answer)
        else:
            self._conclude(work, answer)
            self._already(work, SUBMITTED, answer=answer)
        return None

    def _withdraw_unrecorded(self, work: Work) -> None:
        """There is no record of a SUBMIT that was on the topic before the partition was ours."""
        answer = self._status(work)
        if answer.status not in (ports.UNKNOWN, ports.NO_ANSWER):
            self._conclude(work, answer)
            self._already(work, SUBMITTED, answer=answer)
        elif self._reaches_back(work):
            self._withdrawn(work, phases.WITHDRAWN)
        else:
            self._already(work, RECORD_INCOMPLETE, answer=answer)

    def _withdrawn(
        self,
        work: Work,
        phase: SubmissionPhase,
        *,
        tries: int = 0,
        answer: StatusAnswer | None = None,
    ) -> None:
        self._writer.put(work, phase, tries=tries)
        self._writer.certain(work, phase, answer=answer)

    def _already(self, work: Work, code: str, *, answer: StatusAnswer | None = None) -> None:
        self._writer.report(work, "ALREADY_SUBMITTED", code=code, answer=answer)

    # -- enquire, recall ---------------------------------------------------------------------------

    def _enquire(self, work: Work) -> float | None:
        before = self._record.get(work.instruction.external_ref)
        if self._is_silent and self._crowded():
            now = self._clock.now_ms()
            answer = StatusAnswer(
                status=ports.NO_ANSWER,
                submitted_at=now,
                answered_at=now,
                technical_result=NOT_ASKED,
            )
            work.tries = ENQUIRY_TRIES_MAX
        else:
            answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if work.tries < ENQUIRY_TRIES_MAX:
                return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
            self._writer.report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer, is_enquiry=True)
        elif answer.status == ports.UNKNOWN:
            stopped = self._has_stopped(work, before, answer.submitted_at)
            self._writer.unknown(work, answer, CODE_UNKNOWN, adapter_stopped=stopped)
        else:
            self._report_status(work, answer)
        return None

    def _recall(self, work: Work) -> float | None:
        if self._stopped() is not None:
            return STOPPED_S
        instruction: RailInstruction = work.instruction
        before = self._record.get(instruction.external_ref)
        answer = self._rail.recall(instruction.external_ref, number=instruction.number)
        self._called("recall", answer.outcome, answer.answered_at - answer.submitted_at)
        match answer.outcome:
            case ports.RECALL_ACCEPTED | ports.RECALL_REFUSED:
                self._writer.report(work, answer.outcome, code=answer.code, answer=answer)
            case ports.RECALL_PENDING:
                self._writer.report(work, "STATUS", code=CODE_PENDING, answer=answer)
            case ports.UNKNOWN:
                stopped = self._has_stopped(work, before, answer.submitted_at)
                self._writer.unknown(work, answer, CODE_UNKNOWN, adapter_stopped=stopped)
            case ports.NO_ANSWER:
                work.tries += 1
                if work.tries < RECALL_TRIES_MAX:
                    return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
                self._writer.report(work, "STATUS", code=CODE_NO_ANSWER, answer=answer)
            case _:
                assert_never(answer.outcome)
        return None

    # -- leaves ------------------------------------------------------------------------------------

    def _status(self, work: Work) -> StatusAnswer:
        answer = self._rail.status(work.instruction.external_ref)
        self._is_silent = answer.status == ports.NO_ANSWER
        self._called("status", answer.status, answer.answered_at - answer.submitted_at)
        return answer

    def _conclude(self, work: Work, answer: StatusAnswer) -> None:
        """The rail has it: publish its report, then record that it has it."""
        self._report_status(work, answer)
        refused = answer.status == ports.REJECTED
        self._writer.put(work, phases.REFUSED if refused else phases.SUBMITTED, tries=0)

    def _report_status(self, work: Work, answer: StatusAnswer) -> None:
        kind = KIND_OF_STATUS[answer.status]
        if kind == "RETURNED":
            # A return follows a settlement that may never have been reported. Its amount is the
            # total so far; if the rail names none, the report has none.
            settled = msgspec.structs.replace(answer, message_id=None)
            self._writer.report(work, "SETTLED", answer=settled, is_enquiry=True)
            answer = msgspec.structs.replace(answer, amount=answer.returned_amount)
        code = CODE_PENDING if kind == "STATUS" else answer.code
        self._writer.report(work, kind, code=code, answer=answer, is_enquiry=True)

    def _has_stopped(self, work: Work, before: RailSubmission | None, requested_at: int) -> bool:
        """Whether this adapter will certainly never submit the reference (ruling 3): the own record
        reaches back to it, and `before`, its entry before the enquiry, is final, or at
        `requested_at` (epoch ms) no call that began before submitBefore can still run.
        """
        if not self._reaches_back(work):
            return False
        if before is not None and before.phase != phases.SUBMITTING:
            return True
        return requested_at >= work.limit_ms + CALLS_END_MS

    def _reaches_back(self, work: Work) -> bool:
        instruction: RailInstruction = work.instruction
        return self._record.reaches_back(
            instruction.external_ref,
            partition=work.record.partition,
            submit_before=instruction.submit_before,
        )

    def _is_late(self, work: Work) -> bool:
        return self._clock.now_ms() >= work.limit_ms

    def _called(self, operation: str, outcome: str, millis: int) -> None:
        self._metrics.called("rail", operation, outcome, millis)
