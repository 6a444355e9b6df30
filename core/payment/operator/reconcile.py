"""A person's verdict on a conflict, and its consequences for the money (ruling 5)."""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Refusal
from core.header import OperatorHeader
from core.payment import events as e
from core.payment.commands import ResolveReconciliation
from core.payment.draft import Draft
from core.payment.flow import enquire, finish
from core.payment.inputs.deposits_effects import acceptable, record_accepted
from core.payment.keys import result_key
from core.payment.operator import checks, gate, verdicts
from core.payment.operator.gate import RequiredApproval
from core.payment.operator.steps import Passed, Steps, pass_steps
from core.payment.report_table import FUNDS_CONTRADICTION
from core.payment.state import Approval, Attempt, Conflict, Payment, was_never_submitted
from core.refusals import (
    CONFLICT_NOT_OPEN,
    FIELD_INVALID,
    FIELD_MISSING,
    NO_SUCH_ATTEMPT,
    VERDICT_NOT_APPLICABLE,
    refuse,
)
from core.transitions import FINAL
from core.values import (
    NO_CENTS,
    Cents,
    ConflictId,
    FailureReason,
    State,
    attempt_id,
    external_ref,
    format_amount,
)
from core.words import Verdict

_MOVED_MONEY: Final = frozenset(
    {verdicts.SETTLED_AFTER_ALL, verdicts.AMOUNT_ACCEPTED, verdicts.RETURNED}
)


def _shape(command: ResolveReconciliation, characters_max: int) -> Refusal | None:
    return checks.needed_text("details", command.details, characters_max) or verdict_shape(
        command.verdict, command.amount
    )


def _done(state: Payment, command: ResolveReconciliation, now: int) -> int | None:
    key = f"{command.conflict_id}:{command.attempt}:{command.verdict}"
    return state.results.get(result_key("Q", key))


def _allowed(state: Payment, command: ResolveReconciliation, now: int) -> Refusal | None:
    if not is_open(state, command.conflict_id):
        return refuse(CONFLICT_NOT_OPEN, conflict=command.conflict_id)
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    return does_not_fit(
        state, command.conflict_id, command.attempt, command.verdict, command.amount
    )


def _approval(
    state: Payment, command: ResolveReconciliation, operator: OperatorHeader, now: int
) -> Approval | Refusal:
    conflict = find_conflict(state, command.conflict_id)
    required = RequiredApproval(
        action="RESOLVE_RECONCILIATION",
        attempt=command.attempt,
        amount=verdict_amount(state, conflict, command.verdict, command.amount),
        conflict_id=command.conflict_id,
        verdict=command.verdict,
    )
    return gate.find(state, operator, required, now)


RESOLVE: Final = Steps(
    shape=_shape,
    roles=gate.ROLES_OF_ACTION["RESOLVE_RECONCILIATION"],
    done=_done,
    state=_allowed,
    approval=_approval,
)


def resolve(state: Payment | None, command: ResolveReconciliation, context: Context) -> Decision:
    """End one conflict; the verdict's consequences for the money follow in the same decision
    (ruling 5).
    """
    passed = pass_steps(RESOLVE, state, command, context)
    if not isinstance(passed, Passed):
        return passed

    draft = passed.draft()
    conflict = find_conflict(passed.state, command.conflict_id)
    amount = verdict_amount(passed.state, conflict, command.verdict, command.amount)
    states_amount = command.verdict in (verdicts.AMOUNT_ACCEPTED, verdicts.RETURNED)
    draft.append(
        e.ReconciliationResolved(
            header=draft.header(command.attempt, approval_id=passed.approval_id),
            conflict_id=command.conflict_id,
            verdict=command.verdict,
            text=command.details,
            amount=amount if states_amount else None,
        )
    )
    if conflict is not None and conflict.kind == FUNDS_CONTRADICTION:
        _accept_funds(draft, conflict, command.verdict)
    else:
        _follow(draft, conflict, command, amount)
    return finish(draft)


def _accept_funds(draft: Draft, conflict: Conflict, verdict: Verdict) -> None:
    attempt = draft.state.attempts[conflict.attempt - 1]
    ask = acceptable(attempt, conflict)
    if verdict == verdicts.AMOUNT_ACCEPTED and ask is not None:
        record_accepted(draft, attempt, ask, conflict.amount or NO_CENTS)


def verdict_shape(verdict: Verdict | None, amount: Cents | None) -> Refusal | None:
    """RETURNED states the returned amount, and no other verdict states an amount."""
    if verdict not in verdicts.VERDICTS:
        return refuse(FIELD_INVALID, field="verdict", problem="is no verdict")
    if verdict == verdicts.RETURNED and amount is None:
        return refuse(FIELD_MISSING, field="amount")
    if amount is not None and amount <= 0:
        return refuse(FIELD_INVALID, field="amount", problem="is not above zero")
    return None


def does_not_fit(
    state: Payment, conflict_id: ConflictId, attempt: int, verdict: Verdict, amount: Cents | None
) -> Refusal | None:
    """The refusal if the verdict does not fit this conflict (verdict × conflict), or None."""
    conflict = find_conflict(state, conflict_id)
    problem = verdicts.problem(state, conflict, verdict)
    if conflict is not None and conflict.attempt != attempt:
        problem = f"the conflict is about {attempt_id(conflict.attempt)}"
    if problem is None and verdict == verdicts.RETURNED:
        most = verdicts.returnable_cents(state.attempts[attempt - 1])
        if (amount or 0) > most:
            problem = f"at most {format_amount(most, state.currency)} can have come back"
    if problem is None and conflict is not None and amount is not None:
        expected = verdict_amount(state, conflict, verdict, amount)
        if amount != expected:
            problem = f"its amount is {format_amount(expected, state.currency)}"
    if problem is None:
        return None
    return refuse(VERDICT_NOT_APPLICABLE, verdict=verdict, problem=problem)


def verdict_amount(
    state: Payment, conflict: Conflict | None, verdict: Verdict | None, stated: Cents | None
) -> Cents:
    """What a verdict's approval is bound to: what came back, the rail's amount, or what the attempt
    settles.
    """
    if verdict == verdicts.RETURNED and stated is not None:
        return stated
    if conflict is None:
        return state.amount
    if verdict == verdicts.AMOUNT_ACCEPTED:
        return conflict.amount or state.amount
    return state.attempts[conflict.attempt - 1].settled or state.amount


def find_conflict(state: Payment, conflict_id: ConflictId | None) -> Conflict | None:
    for conflict in state.conflicts:
        if conflict.id == conflict_id:
            return conflict
    return None


def is_open(state: Payment, conflict_id: ConflictId | None) -> bool:
    """Whether the conflict is open: listed and open, or only counted and not resolved."""
    conflict = find_conflict(state, conflict_id)
    if conflict is not None:
        return conflict.verdict is None
    made = {f"cnf_{n:03d}" for n in range(1, state.conflicts_made + 1)}
    resolved = any(key.startswith(f"Q{conflict_id}:") for key in state.results)
    return state.conflicts_unlisted > 0 and conflict_id in made and not resolved


def _follow(
    draft: Draft, conflict: Conflict | None, command: ResolveReconciliation, amount: Cents
) -> None:
    """The verdict's consequences, in addition to ending the conflict."""
    attempt = draft.state.attempts[command.attempt - 1]
    if command.verdict == verdicts.REPORT_WRONG:
        enquire(draft, attempt, "a report was wrong")
        return
    if command.verdict in _MOVED_MONEY:
        accepted = command.verdict == verdicts.AMOUNT_ACCEPTED
        _paid_after_all(draft, command, amount if accepted else attempt.settled)
    settles = command.verdict == verdicts.SETTLED_AFTER_ALL
    if (
        settles
        and conflict is not None
        and conflict.report_kind == "RETURNED"
        and conflict.kind not in verdicts.RETURN_CONFLICTS
    ):
        # It settled and was returned: an enquiry finds the amount, which then applies.
        enquire(draft, draft.state.attempts[command.attempt - 1], "a return was reported")


def _paid_after_all(draft: Draft, command: ResolveReconciliation, amount: Cents) -> None:
    """The named attempt moved money: settle it if still possible, and end attempts that would pay
    again.
    """
    named = draft.state.attempts[command.attempt - 1]
    current = draft.state.attempts[-1]
    if named.number == current.number and named.state in (State.SENT, State.ACKNOWLEDGED):
        _settle(draft, named, command.conflict_id, amount)
    elif current.state not in FINAL:
        _end(draft, current)


def _settle(draft: Draft, attempt: Attempt, conflict_id: ConflictId, amount: Cents) -> None:
    reference = external_ref(draft.payment_id, attempt.number)
    if attempt.state == State.SENT:
        draft.append(
            e.PaymentAcknowledged(
                header=draft.header(attempt.number, State.ACKNOWLEDGED.value),
                attempt_id=attempt_id(attempt.number),
                external_ref=reference,
                implied=True,
            )
        )
    draft.append(
        e.PaymentSettled(
            header=draft.header(attempt.number, State.SETTLED.value),
            attempt_id=attempt_id(attempt.number),
            external_ref=reference,
            amount=amount,
            currency=draft.state.currency,
            conflict_id=conflict_id,
        )
    )


def _end(draft: Draft, attempt: Attempt) -> None:
    """End an attempt: an unsent one with certainty, unless it is the paid one; a sent one is
    withdrawn and enquired about.
    """
    draft.append(
        e.PaymentFailed(
            header=draft.header(
                attempt.number, State.FAILED.value, reason=FailureReason.CANCELLED.value
            ),
            attempt_id=attempt_id(attempt.number),
            source="system",
            retry_safe=False,
            non_payment_certain=attempt.outcome is None
            and (attempt.certain or was_never_submitted(attempt)),
            late_failure=attempt.state == State.ACKNOWLEDGED,
        )
    )
