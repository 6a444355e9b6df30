"""The rail adapter's decisions: submit once, withdraw, recall, enquire. Knows no Kafka client.

SUBMITTING is written before the HTTP call. Whatever is not certain is enquired before it is sent
again (with the same reference); what is old and not in the own record is enquired first of all.
A report of something certain is made only after the group confirmed that the partition is ours.

Lanes (processors.rail.worker): WITHDRAW, RECALL and SUBMIT of one reference never run at once, and
go in that order; an ENQUIRE has a lane of its own. So a withdraw meets its SUBMIT in one of these:

    SUBMIT waits, or was never begun ──▶ WITHDRAWN
    SUBMIT sleeps in SUBMITTING ───────▶ ALREADY_SUBMITTED (SUBMITTING); it is never sent again, and
                                         is NOT_SUBMITTED if the rail does not know it in the end
    SUBMIT was answered ───────────────▶ ALREADY_SUBMITTED (SUBMITTED)
    nobody knows ──────────────────────▶ ALREADY_SUBMITTED (RECORD_INCOMPLETE)

Once a withdraw was read ahead, nothing of its reference is sent, whatever lane is at work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

import msgspec
import structlog

from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.values import Parties
from core.words import ReportKind
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

INSTRUCTION_AGE_MS_MAX: Final = 86_400_000  # older ones are never submitted, whatever they say
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0
HOLD_S: Final = 0.05  # until the partition is read to its end, or a withdraw is answered
STOPPED_S: Final = 0.25
NOT_OURS_S: Final = 1.0  # until the rebalance clears the lanes
# Questions to a rail that does not answer. A call takes 10 s at most, a pause 5 s.
ANSWER_TRIES_MAX: Final = 5
WITHDRAW_TRIES_MAX: Final = 2
ENQUIRY_TRIES_MAX: Final = 2  # core asks again by itself
RECALL_TRIES_MAX: Final = 30  # it is asked for once only
# From so long after submitBefore no call of ours that began before it is under way any more.
CALLS_END_MS: Final = 20_000

# What an enquiry's answer means as a report.
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
CODE_PENDING: Final = "PDNG"  # STATUS: the rail has it and says no more
CODE_NO_ANSWER: Final = "NO_ANSWER"  # STATUS: nothing readable came
NOT_ASKED: Final = "NOT_ASKED"  # technical result: the rail answers nobody, and too many wait

# ALREADY_SUBMITTED: what it rests on.
SUBMITTED: Final = "SUBMITTED"  # the gateway took it, or said that it knows it: evidence
SUBMITTING: Final = "SUBMITTING"  # it may have been sent: no evidence
RECORD_INCOMPLETE: Final = "RECORD_INCOMPLETE"  # nobody here knows: no evidence


class RailAdapter:
    """Handles one instruction at a time: `handle` gives the seconds until again."""

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
        """`crowded`: more instructions wait than a silent rail's enquiries may keep waiting."""
        self._rail = rail
        self._record = record
        self._ahead = ahead
        self._writer = writer
        self._clock = clock
        self._stopped = stopped
        self._crowded = crowded
        self._metrics = metrics
        self._is_silent = False  # the rail, when it was last asked for a status

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
        """Nobody here knows for sure whether the rail has it: only its own word decides."""
        answer = self._status(work)
        is_final = answer.submitted_at >= work.limit_ms  # it is not known, and never will be
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if not is_final or work.tries < ANSWER_TRIES_MAX:
                return self._pause_s(work)
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
            return self._pause_s(work)  # never sent again: asked until submitBefore has passed
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
            self._writer.put(work, phases.NOT_SUBMITTED, tries=0)
            details = "unreadable party details"
            self._writer.certain(work, phases.NOT_SUBMITTED, details=details)
            return None
        self._writer.put(work, phases.SUBMITTING, tries=tries)
        self._writer.confirm(work)
        hold_s = self._hold_s(work)
        if hold_s is not None:
            return hold_s  # comes back as SUBMITTING, so it is enquired before it is sent
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
                return self._pause_s(work)
            case _:
                assert_never(answer.outcome)
        return None

    def _hold_s(self, work: Work) -> float | None:
        """Seconds to wait before a submission may be made, or None when it may be made now.

        One that is late or withdrawn never is: its withdraw, or the rail, says what became of it.
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
        """WITHDRAWN only when the own record certainly reaches back to the SUBMIT and has no
        SUBMITTING, or the rail says unknown after submitBefore; else ALREADY_SUBMITTED.
        """
        reference = work.instruction.external_ref
        known = self._record.get(reference)
        phase = None if known is None else known.phase
        if phase in phases.UNSENT:
            self._writer.certain(work, str(phase))
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
        """After submitBefore the rail's own word is final, and there is no other that is."""
        answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if work.tries < WITHDRAW_TRIES_MAX:
                return self._pause_s(work)
            self._already(work, SUBMITTING if tries else RECORD_INCOMPLETE, answer=answer)
        elif answer.status == ports.UNKNOWN:
            phase = phases.NOT_SUBMITTED if tries else phases.WITHDRAWN
            self._withdrawn(work, phase, tries=tries, answer=answer)
        else:
            self._conclude(work, answer)
            self._already(work, SUBMITTED, answer=answer)
        return None

    def _withdraw_unrecorded(self, work: Work) -> None:
        """Nothing is recorded of a SUBMIT that stood on the topic before the partition was ours."""
        answer = self._status(work)
        if answer.status not in (ports.UNKNOWN, ports.NO_ANSWER):
            self._conclude(work, answer)
            self._already(work, SUBMITTED, answer=answer)
        elif self._reaches_back(work):
            self._withdrawn(work, phases.WITHDRAWN)
        else:
            self._already(work, RECORD_INCOMPLETE, answer=answer)

    def _withdrawn(
        self, work: Work, phase: str, *, tries: int = 0, answer: StatusAnswer | None = None
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
            answer = StatusAnswer(ports.NO_ANSWER, now, now, NOT_ASKED)
            work.tries = ENQUIRY_TRIES_MAX
        else:
            answer = self._status(work)
        if answer.status == ports.NO_ANSWER:
            work.tries += 1
            if work.tries < ENQUIRY_TRIES_MAX:
                return self._pause_s(work)
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
                    return self._pause_s(work)
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
        """The rail has it: say what it says, then remember that it has it."""
        self._report_status(work, answer)
        refused = answer.status == ports.REJECTED
        self._writer.put(work, phases.REFUSED if refused else phases.SUBMITTED, tries=0)

    def _report_status(self, work: Work, answer: StatusAnswer) -> None:
        kind = KIND_OF_STATUS[answer.status]
        if kind == "RETURNED":
            # A return follows a settlement that nobody may have been told of. Its amount is the
            # total so far; without one it is reported without one.
            settled = msgspec.structs.replace(answer, message_id=None)
            self._writer.report(work, "SETTLED", answer=settled, is_enquiry=True)
            answer = msgspec.structs.replace(answer, amount=answer.returned_amount)
        code = CODE_PENDING if kind == "STATUS" else answer.code
        self._writer.report(work, kind, code=code, answer=answer, is_enquiry=True)

    def _has_stopped(self, work: Work, before: RailSubmission | None, asked_at: int) -> bool:
        """Whether the own record certainly reaches back to the reference, and said `before` it was
        asked for that it is not being submitted and never will be.
        """
        if not self._reaches_back(work):
            return False
        if before is not None and before.phase != phases.SUBMITTING:
            return True
        return asked_at >= work.limit_ms + CALLS_END_MS

    def _reaches_back(self, work: Work) -> bool:
        instruction: RailInstruction = work.instruction
        return self._record.reaches_back(
            instruction.external_ref,
            partition=work.record.partition,
            submit_before=instruction.submit_before,
        )

    def _is_late(self, work: Work) -> bool:
        return self._clock.now_ms() >= work.limit_ms

    @staticmethod
    def _pause_s(work: Work) -> float:
        return min(PAUSE_S_MAX, PAUSE_S_FIRST * float(2 ** min(work.tries, 10)))

    def _called(self, operation: str, outcome: str, millis: int) -> None:
        self._metrics.called("rail", operation, outcome, millis)
