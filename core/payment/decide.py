"""decide(state, command, context): events, a duplicate, a refusal, or no effect. Pure.

Order of checks (domain §5): readable, shape, role, done before, known payment, still valid
(`notAfter`), state, approval, invariant.
"""

from __future__ import annotations

from typing import Final, assert_never, get_args

from core.decider import Accepted, Context, Decision, NoEffect
from core.payment import commands as c
from core.payment.deadlines import with_deadline
from core.payment.flow import finish
from core.payment.flow.instruct import instructions
from core.payment.inputs import deposits as decide_funds
from core.payment.inputs import other as decide_other
from core.payment.inputs import policy as decide_policy
from core.payment.inputs import rail as decide_rail
from core.payment.inputs import recovered_submissions
from core.payment.inputs import timer as decide_timer
from core.payment.inputs import upstream as decide_upstream
from core.payment.inputs.other import suspend
from core.payment.limits import over_limit
from core.payment.operator import actions as decide_operator
from core.payment.operator import approvals as decide_approvals
from core.payment.operator import funds_actions as decide_funds_actions
from core.payment.operator import reconcile as decide_reconcile
from core.payment.state import Payment
from core.refusals import FIELD_INVALID, PARKED, WRONG_TOPIC, no_effect, refuse

__all__ = ["decide", "suspend"]

# What kind of topic each input comes from; an ExpirePayment may come from two.
ORIGINS: Final[dict[type, str]] = {
    **{each: "operator" for each in get_args(c.OperatorCommand) if each is not c.ExpirePayment},
    c.CreatePayment: "upstream",
    c.RailReport: "rail",
    c.DepositsResult: "deposits",
    c.PolicyVerdict: "resolve",
    c.ApprovalDecision: "resolve",
    c.NotificationResult: "notified",
    c.TimerDue: "timer",
}


def decide(state: Payment | None, command: c.Input, context: Context) -> Decision:
    """The decision about one input. Raises only on a defect: the payment is then parked by
    `suspend`.
    """
    decision = _decide(state, command, context)
    if not context.recovered_submissions or state is None:
        return decision
    number = recovered_submissions.attempt_ended_as_unsent(state, decision, context)
    return decision if number is None else _decide_recovered(state, number, command, context)


def _decide_recovered(state: Payment, number: int, command: c.Input, context: Context) -> Decision:
    """The input would end an attempt as certainly unpaid although its instruction was found. First
    open the conflict, then decide the input again with the conflict open.
    """
    draft = recovered_submissions.contradict(state, number, command, context)
    decision = _decide(with_deadline(draft.state, context.rules), command, context)
    if type(decision) is NoEffect:
        recovered_submissions.ask_the_rail(draft, number)
        return finish(draft)  # a timer, which the conflict has made void
    if type(decision) is not Accepted:
        return decision  # a command is refused: a conflict is open
    events = [*draft.events, *decision.events]
    work = instructions(state, events, decision.state)
    return Accepted(events=events, state=decision.state, instructions=work)


def _decide(state: Payment | None, command: c.Input, context: Context) -> Decision:
    kind = type(command)
    origin = ORIGINS.get(kind)
    if origin is not None and origin != context.origin:
        return refuse(WRONG_TOPIC, what=kind.__name__, where=context.origin)
    refusal = over_limit(command, context.rules.limits)
    if refusal is not None:
        return refusal
    if state is not None and state.parked and kind is not c.ResumeProcessing:
        return no_effect(PARKED)
    match command:
        case c.RailReport():
            return decide_rail.rail_report(state, command, context)
        case c.DepositsResult():
            return decide_funds.deposits_result(state, command, context)
        case c.CreatePayment():
            return decide_upstream.create(state, command, context)
        case c.PolicyVerdict():
            return decide_policy.policy_verdict(state, command, context)
        case c.TimerDue():
            return decide_timer.timer_due(state, command, context)
        case c.NotificationResult():
            return decide_other.notification_result(state, command, context)
        case c.ApprovalDecision():
            return decide_policy.approval_decision(state, command, context)
        case c.RequestApproval():
            return decide_approvals.request(state, command, context)
        case c.DecideApproval():
            return decide_approvals.decide_approval(state, command, context)
        case c.RetryPayment():
            return decide_operator.retry(state, command, context)
        case c.CancelPayment():
            return decide_operator.cancel(state, command, context)
        case c.MarkPaymentFailed():
            return decide_operator.mark_failed(state, command, context)
        case c.ExpirePayment():
            return _expire(state, command, context)
        case c.ResolveReconciliation():
            return decide_reconcile.resolve(state, command, context)
        case c.ReleaseFunds():
            return decide_funds_actions.release_early(state, command, context)
        case c.ReverseCapture():
            return decide_funds_actions.reverse_capture(state, command, context)
        case c.DebitFunds():
            return decide_funds_actions.debit_again(state, command, context)
        case c.RepeatFundsRequest():
            return decide_funds_actions.repeat_request(state, command, context)
        case c.ResumeProcessing():
            return decide_other.resume(state, command, context)
        case _:
            assert_never(command)


def _expire(state: Payment | None, command: c.ExpirePayment, context: Context) -> Decision:
    """On an upstream topic without an operator, on the operators' topic with one."""
    if context.origin == "upstream":
        if command.operator is not None:
            return refuse(FIELD_INVALID, field="operator", problem="is not for upstream topics")
        return decide_upstream.expire(state, command, context)
    if context.origin != "operator":
        return refuse(WRONG_TOPIC, what="ExpirePayment", where=context.origin)
    if command.operator is None:
        return refuse(FIELD_INVALID, field="operator", problem="is missing")
    return decide_operator.expire(state, command, command.operator, context)
