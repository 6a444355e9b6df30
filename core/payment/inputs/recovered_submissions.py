"""What a lost log tail leaves behind: instructions for the rail whose event is lost.

`Context.recovered_submissions` names their references; a recovery under dual control put them there
(docs/decisions/0011). Such an attempt may be sent again under the same reference. It never ends as
never sent.
"""

from __future__ import annotations

from typing import Final

from core.decider import Accepted, Context, Decision
from core.header import Actor
from core.payment import commands as c
from core.payment import events as e
from core.payment.draft import SYSTEM, Draft, decided_at, draft_of, duplicate_of
from core.payment.flow import enquire, finish
from core.payment.keys import recovered_key
from core.payment.report_table import SUBMISSION_FOUND
from core.payment.state import RECOVERED_MAX, Payment
from core.refusals import CONFLICTS_FULL, no_effect
from core.values import ExternalRef, attempt_id, conflict_id, external_ref

_ENDS: Final = (e.PaymentFailed, e.PaymentExpired)


def attempt_ended_as_unsent(before: Payment, decision: Decision, context: Context) -> int | None:
    """The attempt that this decision ends as never sent, although an instruction for it was found
    and no conflict about it was opened or resolved yet.
    """
    if type(decision) is not Accepted:
        return None
    after = decision.state
    for event in decision.events:
        if isinstance(event, _ENDS):
            number = event.header.attempt
            ended = after.attempts[number - 1]
            reference = external_ref(after.payment_intent_id, number)
            judged = before.attempts[number - 1].certain or ended.outcome is not None
            contradicted = recovered_key(reference, None) in after.results
            if reference in context.recovered_submissions and not (
                ended.sent_at or judged or contradicted
            ):
                return number
    return None


def contradict(state: Payment, number: int, command: c.Input, context: Context) -> Draft:
    """Open a conflict about the attempt; the input's own effect follows."""
    now = decided_at(state, context.now_ms)
    if isinstance(command, c.TimerDue):
        now = max(now, command.deadline)
    draft = draft_of(state, context, SYSTEM, command.header, now)
    reference = external_ref(state.payment_intent_id, number)
    detail = f"an instruction for {attempt_id(number)} stands, its event was lost"
    _require(draft, number, reference, detail, None)
    return draft


def ask_the_rail(draft: Draft, number: int) -> None:
    """Enquire if the input no longer ends anything; an uncertain end enquires anyway."""
    enquire(draft, draft.state.attempts[number - 1], "submission found")


def report_for_missing_attempt(
    state: Payment, number: int, command: c.RailReport, context: Context
) -> Decision:
    """A report for a found attempt that the recovered history does not contain: it has no state, so
    each kind opens one conflict, on the last known attempt.
    """
    reference = external_ref(state.payment_intent_id, number)
    done = state.results.get(recovered_key(reference, command.kind))
    if done is not None:
        return duplicate_of(state, done)
    if sum(1 for key in state.results if key[0] == "F") >= RECOVERED_MAX:
        return no_effect(CONFLICTS_FULL)
    draft = draft_of(state, context, Actor(kind="rail", id=command.adapter), command.header)
    detail = f"{command.kind} for {attempt_id(number)}, whose events were lost"
    _require(draft, len(state.attempts), reference, detail, command)
    return finish(draft)


def _require(
    draft: Draft, number: int, reference: ExternalRef, detail: str, report: c.RailReport | None
) -> None:
    draft.append(
        e.ReconciliationRequired(
            header=draft.header(number),
            conflict_id=conflict_id(draft.state.conflicts_made + 1),
            kind=SUBMISSION_FOUND,
            external_ref=reference,
            detail=detail,
            code=None if report is None else report.code,
            amount=None if report is None else report.amount,
            currency=None if report is None else report.currency,
            rail_message_id=None if report is None else report.rail_message_id,
            assigned_from=None if report is None else report.assigned_from,
            report_kind=None if report is None else report.kind,
            submitted_at=None if report is None or report.via_enquiry else report.submitted_at,
            answered_at=None if report is None or report.via_enquiry else report.answered_at,
        )
    )
