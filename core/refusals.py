"""Every result that appends nothing, in one place: its code, its rule, its sentence and what to do.

`docs` renders these tables; `decide` takes its refusals from here and nowhere else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.decider import NoEffect, Refusal
from core.words import RefusalCode

INVARIANT_VIOLATION: Final = "INVARIANT_VIOLATION"
POLICY_REJECTED: Final = "POLICY_REJECTED"
PAYMENT_NOT_FOUND: Final = "PAYMENT_NOT_FOUND"
VALIDATION_FAILED: Final = "VALIDATION_FAILED"
CODES: Final = (VALIDATION_FAILED, POLICY_REJECTED, PAYMENT_NOT_FOUND, INVARIANT_VIOLATION)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`template` is filled with named values; `advice` says what to do and whom to ask. The rule's
    name is that of its constant.
    """

    code: RefusalCode
    template: str
    advice: str
    name: str = ""


class NoEffectRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule under which an input has no effect, without being wrong; named like a Rule."""

    sentence: str
    name: str = ""


_ENGINEERING: Final = "If it is unexpected, escalate to engineering."
COMPLIANCE: Final = "If it is unexpected, escalate to compliance."


def _validation(template: str, advice: str) -> Rule:
    return Rule(code=VALIDATION_FAILED, template=template, advice=advice)


def _policy(template: str, advice: str) -> Rule:
    return Rule(code=POLICY_REJECTED, template=template, advice=advice)


def _entitlement(template: str, advice: str) -> Rule:
    """A policy rule about permissions; its refusal may be an attempted misuse."""
    return _policy(template, f"{advice} {COMPLIANCE}")


def _invariant(template: str, advice: str) -> Rule:
    advice = f"{advice} {_ENGINEERING}"
    return Rule(code=INVARIANT_VIOLATION, template=template, advice=advice)


# -- shape -----------------------------------------------------------------------------------------
WRONG_TOPIC = _validation(
    "{what} is not taken from {where} topics.",
    "Send the record to the topic that its type belongs to.",
)
FIELD_MISSING = _validation("{field} is missing.", "Send the field.")
FIELD_INVALID = _validation(
    "{field} {problem}.", "Correct the field; the documentation gives its format."
)
ID_MISMATCH = _validation(
    "The record's identity and its content name different payments: {detail}.",
    "Compute the id from source and idempotency key as the published vectors show.",
)
PARTIES_UNREADABLE = _validation(
    "The party details cannot be read.",
    "Send parties as scheme avro.1 with version 1 of Parties, without a prefix.",
)

# -- role ------------------------------------------------------------------------------------------
SOURCE_NOT_ENTITLED = _entitlement(
    "Source {source} may not use this topic.", "Use the source's own command topic."
)
MISSING_ROLE = _entitlement("The action needs the role {needed}.", "Ask a person who has the role.")
COMMAND_EXPIRED = _policy(
    "The command came too late: it was valid until {not_after}.",
    "Look at the payment again, and repeat the action if it is still wanted.",
)

# -- known payment ---------------------------------------------------------------------------------
NOT_FOUND = Rule(
    code=PAYMENT_NOT_FOUND,
    name="PAYMENT_NOT_FOUND",
    template="There is no payment with this id.",
    advice="Check the id; wait 30 s if the payment was just created; then escalate to engineering.",
)

# -- state precondition ----------------------------------------------------------------------------
STATE_PRECONDITION = _policy(
    "The action needs state {expected}; the payment is {actual}.", "Look at the payment's timeline."
)
CONFLICT_OPEN = _policy(
    "{count} conflict(s) are open; until they are resolved the payment waits.",
    "Resolve the reconciliation first.",
)
CONFLICT_NOT_OPEN = _policy(
    "Conflict {conflict} is not open.", "Look at the payment's open conflicts."
)
FUNDS_PRECONDITION = _policy(
    "The funds of attempt {attempt} do not allow it: needed is {expected}, found {actual}.",
    "Look at the payment's funds.",
)
NO_SUCH_ATTEMPT = _policy("There is no attempt {attempt}.", "Look at the payment's attempts.")
CUSTOMER_MISMATCH = _entitlement(
    "customerId is not the customer of this payment.", "Check who asked for the cancellation."
)
UPSTREAM_AFTER_SENT = _policy(
    "From SENT on a payment is not expired by its source; it is {actual}.",
    "Ask the operators: they can expire it with an approval.",
)

# -- approval --------------------------------------------------------------------------------------
APPROVAL_MISSING = _policy(
    "There is no approval of {action} for this payment.",
    "Request an approval and wait for the decision.",
)
APPROVAL_NOT_FOUND = _policy("There is no approval {approval}.", "Check the approval's id.")
APPROVAL_PENDING = _policy("Approval {approval} is not decided yet.", "Wait for the decision.")
APPROVAL_REFUSED = _entitlement(
    "Approval {approval} was rejected.", "Look at the rules that Resolve evaluated."
)
APPROVAL_USED = _policy("Approval {approval} was used already.", "Request another approval.")
APPROVAL_EXPIRED = _policy("Approval {approval} has expired.", "Request another approval.")
APPROVAL_OTHER_OPERATOR = _entitlement(
    "Approval {approval} was given to another operator.",
    "The operator who asked for the approval executes the action.",
)
APPROVAL_OTHER_ACTION = _policy(
    "Approval {approval} is for {actual}, not for {expected}.",
    "Request an approval of this action.",
)
APPROVAL_OTHER_PARAMETERS = _policy(
    "Approval {approval} was given for {field} {expected}, not {actual}.",
    "Request an approval of the action with these parameters.",
)
APPROVAL_OTHER_ATTEMPT = _policy(
    "Approval {approval} was given for attempt {expected}, not {actual}.",
    "Request an approval for this attempt.",
)
APPROVAL_OTHER_PHASE = _policy(
    "Approval {approval} was given in phase {expected}; the payment is now in {actual}.",
    "Request an approval for the payment as it is now.",
)
APPROVAL_DECIDED = _policy(
    "Approval {approval} was decided already: {actual}.", "Look at the approval."
)
NOT_REFERRED = _policy(
    "Approval {approval} was not referred to a person.", "Wait until Resolve refers it."
)
SELF_APPROVAL = _entitlement("The requester may not be the second person.", "Ask another person.")

# -- invariants ------------------------------------------------------------------------------------
IDEMPOTENCY_KEY_REUSED = _invariant(
    "The key was used for another payment: {field} differs.",
    "Use a new idempotency key for a new payment.",
)
AMOUNT_NOT_POSITIVE = _invariant(
    "The amount is not above zero.", "Send a positive amount in cents."
)
AMOUNT_OVER_LIMIT = _invariant(
    "The amount is over the limit of {limit}.", "Send a smaller payment."
)
CURRENCY_NOT_AUD = _invariant("The currency is not AUD.", "Pay in AUD.")
NPP_CONSTRAINT = _invariant(
    "{field} breaks a constraint of the NPP: {problem}.",
    "Correct the field; the documentation gives its format.",
)
EXECUTION_TOO_FAR = _invariant(
    "requestedExecutionTime is more than {hours} h ahead.",
    "Funds are held from creation: send the payment later.",
)
EXPIRES_BEFORE_EXECUTION = _invariant(
    "expiresAt is not after requestedExecutionTime.", "Choose a later expiry."
)
ILLEGAL_TRANSITION = _invariant(
    "A payment that is {actual} cannot become {target}.", "Look at the payment's timeline."
)
RETRY_UNSAFE = _invariant(
    "A retry after {reason} is not safe{detail}.",
    "Create a new payment with a new idempotency key when nothing was paid.",
)
RETRY_UNCERTAIN = _invariant(
    "It is not certain that attempt {attempt} was not paid.",
    "Wait for the rail's answer, or have a person approve RETRY_UNCERTAIN and its risk.",
)
ALREADY_PAID = _invariant(
    "Attempt {attempt} was paid: the payment is never sent again.", "No approval opens this."
)
DUPLICATE_ATTEMPT = _invariant(
    "Attempt {attempt} exists already.", "Look at the payment's attempts."
)
ATTEMPT_OUT_OF_ORDER = _invariant(
    "The next attempt is {expected}, not {actual}.", "Send the next attempt's id."
)
VERDICT_NOT_APPLICABLE = _invariant(
    "The verdict {verdict} does not fit: {problem}.",
    "Look at the conflict and choose a verdict that fits.",
)
ATTEMPT_NOT_CURRENT = _policy(
    "The action is for the current attempt {expected}, not for {actual}.",
    "Leave the attempt out, or name the current one.",
)
LIMIT_REACHED = _invariant(
    "There are {count} {what} already, the most there may be.", "Ask engineering."
)

# -- by the API, before or besides a command ---------------------------------------------------
OPERATOR_MISMATCH = _entitlement(
    "operatorId is not the person who is signed in.",
    "Leave operatorId out, or sign in as that person.",
)
PAYMENT_PARKED = _policy(
    "The payment is parked: the command was set aside in quarantine and changed nothing.",
    "Two people resume the payment after the defect is fixed; then repeat the action.",
)
ACT_NOT_SIGNED = _entitlement(
    "The act is not taken: {problem}.",
    "Each person signs with a key of their own: `npp control`, `npp quarantine redrive` and `npp "
    "payment resume` do it.",
)
STOP_NOT_OPEN = _policy("No stop {stop} is open.", "Look at the open stops.")
RESUME_NOT_POSSIBLE = _policy(
    "Stop {stop} is not resumed: {problem}.",
    "A replay has to pass after the stop began; then one person requests and another confirms.",
)
UNPARK_NOT_POSSIBLE = _policy(
    "The payment is not resumed: {problem}.",
    "One person requests it, then another confirms; each signs.",
)
REDRIVE_NOT_POSSIBLE = _policy(
    "Nothing is redriven: {problem}.",
    "Look at the quarantined records and what became of the request.",
)


# -- no effect -------------------------------------------------------------------------------------
CHANGES_NOTHING = NoEffectRule(sentence="The report says nothing that is not known.")
NOT_SENT = NoEffectRule(sentence="The attempt has not been sent.")
NOT_ASKED = NoEffectRule(sentence="The rail answers what was not asked.")
RESEND_REJECTED = NoEffectRule(sentence="The rail rejected our own resend, which is known.")
NOTES_FULL = NoEffectRule(sentence="The payment has as many notes as it may have.")
CONFLICTS_FULL = NoEffectRule(
    sentence="The payment has as many open conflicts as are told apart; it waits already."
)
ANSWER_SUPERSEDED = NoEffectRule(sentence="A later answer of Deposits Core stands already.")
VERDICT_SUPERSEDED = NoEffectRule(sentence="The policy check was decided already.")
TOO_LATE_FOR_CHECK = NoEffectRule(sentence="The attempt does not wait for a policy check.")
APPROVAL_CLOSED = NoEffectRule(sentence="The approval was decided, used or has expired.")
APPROVAL_UNKNOWN = NoEffectRule(sentence="The approval is not known, or forgotten since it ended.")
APPROVER_IS_REQUESTER = NoEffectRule(sentence="The requester decided its own request.")
NOTIFICATION_UNKNOWN = NoEffectRule(sentence="No such message was requested.")
NOTIFICATION_ANSWERED = NoEffectRule(sentence="The message was confirmed already.")
TIMER_STALE = NoEffectRule(sentence="The payment no longer waits for this deadline.")
PARKED = NoEffectRule(sentence="The payment is parked: its inputs wait in quarantine.")

for _name, _rule in [*globals().items()]:
    if isinstance(_rule, Rule | NoEffectRule):
        msgspec.structs.force_setattr(_rule, "name", _rule.name or _name)
del _name, _rule

RULES: Final[tuple[Rule, ...]] = tuple(v for v in globals().values() if isinstance(v, Rule))
NO_EFFECT_RULES: Final[tuple[NoEffectRule, ...]] = tuple(
    v for v in globals().values() if isinstance(v, NoEffectRule)
)


def refuse(
    rule: Rule,
    *,
    first_difference: str | None = None,
    expected: str | None = None,
    actual: str | None = None,
    **values: object,
) -> Refusal:
    """The refusal of `rule`, its sentence filled in. Values never hold party details."""
    sentence = rule.template.format(expected=expected, actual=actual, **values)
    return Refusal(
        code=rule.code,
        rule=rule.name,
        sentence=sentence,
        first_difference=first_difference,
        expected=expected,
        actual=actual,
    )


def no_effect(rule: NoEffectRule) -> NoEffect:
    """The result that an input changes nothing, and why."""
    return NoEffect(rule=rule.name, sentence=rule.sentence)
