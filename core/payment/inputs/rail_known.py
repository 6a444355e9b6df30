"""What is known about a rail report before it is judged: whether it is a repeat, and whether it is
evidence.

It distinguishes the same message, the same contradiction and the same content (domain §2, ruling
5), and finds evidence that the rail had an attempt (ruling 3).
"""

from __future__ import annotations

from typing import Final, assert_never

from core.payment.commands import RailReport
from core.payment.evolve.nonlifecycle import note_kind
from core.payment.keys import conflict_key, content_of, digest
from core.payment.report_table import AMOUNT_DIFFERS, CURRENCY_DIFFERS
from core.payment.state import Attempt, Payment
from core.rules import Rules
from core.values import Cents
from core.words import ConflictKind, ReportKind, Verdict

SUBMITTED: Final = "SUBMITTED"  # code of ALREADY_SUBMITTED: by the adapter's own record
PAID_OUTCOMES: Final = frozenset({"PAID", "RETURNED"})
CLEARED: Final[frozenset[ReportKind]] = frozenset({"ACCEPTED", "SETTLED"})
_EVIDENCE: Final = frozenset(
    {"RECEIVED", "ACCEPTED", "SETTLED", "RETURNED", "RECALL_ACCEPTED", "RECALL_REFUSED"}
)
_NOTES: Final = frozenset({"STATUS", "RECEIVED"})
_SAYS_PAID: Final = frozenset({"SETTLED_AFTER_ALL", "AMOUNT_ACCEPTED", "RETURNED"})
# The reports that each verdict agrees with.
_AGREES: Final[dict[Verdict, frozenset[ReportKind]]] = {
    "SETTLED_AFTER_ALL": CLEARED,
    "AMOUNT_ACCEPTED": CLEARED,
    "RETURNED": frozenset({"RETURNED"}),
    "NOT_PAID": frozenset(
        {"REJECTED", "EXPIRED", "WITHDRAWN", "NOT_SUBMITTED", "RECALL_ACCEPTED", "STATUS"}
    ),
}


def may_have_been_submitted(attempt: Attempt) -> bool:
    """It was sent, or the rail has it anyway: after a lost log tail, or by a stray report."""
    return attempt.sent_at > 0 or attempt.rail_had_it


def rail_had_it(state: Payment, attempt: Attempt) -> bool:
    """Whether there is evidence that the rail had the attempt: recorded, or in a conflict that no
    person has judged yet (ruling 3).
    """
    return attempt.rail_had_it or any(
        c.verdict is None and c.attempt == attempt.number and c.report_kind in _EVIDENCE
        for c in state.conflicts
    )


def rail_has_it(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """Whether the report is evidence that the rail has the attempt: the rail's own statement, or
    our adapter's record SUBMITTED. It outweighs "unknown". There is no evidence about an attempt
    that was neither sent nor found (ruling 3).
    """
    if not may_have_been_submitted(attempt):
        return False
    match command.kind:
        case "RECEIVED" | "RECALL_ACCEPTED" | "RECALL_REFUSED":
            return True
        case "REJECTED":
            return command.code in rules.resend_rejected_codes
        case "STATUS":
            return command.code in rules.status_known_codes
        case "ALREADY_SUBMITTED":
            return command.code == SUBMITTED
        case "ACCEPTED" | "SETTLED" | "EXPIRED" | "WITHDRAWN" | "NOT_SUBMITTED" | "RETURNED":
            return False
        case _:
            assert_never(command.kind)


def same_conflict(state: Payment, attempt: Attempt, command: RailReport) -> int | None:
    """The first sequence of the conflict that this report would open again (ruling 5).

    The same contradiction is the same conflict while that is open, or if its verdict agrees with
    the report. Otherwise only the same message id is; an enquiry's answer, or another id, is new.
    """
    if not state.conflicts:
        return None
    kind = command.kind
    content = content_of(state, command.code, command.amount, command.currency)
    message_id = None
    for conflict in state.conflicts:
        if (
            conflict.attempt != attempt.number
            or conflict.report_kind != kind
            or conflict.content != content
        ):
            continue
        message_id = message_id or digest(command.rail_message_id)
        same_id = conflict.message_id == message_id
        by_id = kind == "RETURNED" or conflict.kind == "SAME_MESSAGE_OTHER_CONTENT"
        if by_id and not same_id:
            continue  # another return, or another message
        if conflict.verdict is None or _agrees(state, attempt, conflict.verdict, command):
            return conflict.from_sequence
        if same_id and message_id is not None and not command.via_enquiry:
            return conflict.from_sequence
    if state.conflicts_unlisted_keys and state.conflicts_unlisted:
        return state.conflicts_unlisted_keys.get(conflict_key(attempt.number, kind, content))
    return None


def _agrees(state: Payment, attempt: Attempt, verdict: Verdict, command: RailReport) -> bool:
    """Whether the verdict agrees with the report, and no later verdict on the attempt contradicts
    it.
    """
    kind = command.kind
    if kind not in _AGREES.get(verdict, ()):
        return False
    if kind in CLEARED and other_money(state, attempt, command) is not None:
        return False
    return (attempt.outcome in PAID_OUTCOMES) == (verdict in _SAYS_PAID)


def same_report(state: Payment, attempt: Attempt, command: RailReport, rules: Rules) -> int | None:
    """The first sequence of an earlier report with the same content (domain §2)."""
    kind = command.kind
    if not attempt.rail_had_it and rail_has_it(attempt, command, rules):
        return None  # the same report before the send was no evidence
    if _answers_another_try(attempt, command, rules):
        return None
    # After the verdict NOT_PAID only the same message id is a duplicate, and no enquiry's answer.
    is_denied = attempt.outcome == "NOT_PAID" and kind in CLEARED
    if is_denied and command.via_enquiry:
        return None
    content = content_of(state, command.code, command.amount, command.currency)
    noted = note_kind(kind)
    same = [
        known
        for known in attempt.reports
        if (known.kind == kind or known.kind == noted)
        and (known.content is None or known.content == content)
    ]
    if not same:
        return None
    message_id = digest(command.rail_message_id)
    for known in same:
        if known.message_id == message_id is not None:
            return known.from_sequence  # the same message
    if is_denied or other_money(state, attempt, command) is not None:
        return None
    if same_id_elsewhere(state, attempt, command, content):
        return None
    return same[0].from_sequence


def _answers_another_try(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """Whether it is the technical answer to a later submission than any note records. Each such
    answer is a separate note, so that the history has every rail latency (domain §2).
    """
    if command.submitted_at is None or command.via_enquiry:
        return False
    is_note = command.kind in _NOTES or command.code in rules.resend_rejected_codes
    return is_note and command.submitted_at > attempt.tried_at


def same_id_elsewhere(state: Payment, attempt: Attempt, command: RailReport, content: str) -> bool:
    """Whether the rail's message id was already used for another kind or content."""
    if command.rail_message_id is None or not (attempt.reports or state.conflicts):
        return False
    message_id = digest(command.rail_message_id)
    kind = command.kind
    for known in attempt.reports:
        if known.message_id == message_id:
            other = known.kind != kind and known.kind != note_kind(kind)
            if other or (known.content is not None and known.content != content):
                return True
    return any(
        c.message_id == message_id
        and c.attempt == attempt.number
        and (c.report_kind != kind or c.content != content)
        for c in state.conflicts
    )


def known_return(attempt: Attempt, name: bytes | None) -> Cents | None:
    """The amount of the return that is known by this id, in cents, or None."""
    return None if name is None else attempt.returns.get(name)


def other_money(state: Payment, attempt: Attempt, command: RailReport) -> ConflictKind | None:
    """The conflict kind of a report that names another currency or amount, or None."""
    if command.currency is not None and command.currency != state.currency:
        return CURRENCY_DIFFERS
    expected = attempt.settled or state.amount
    if command.amount is not None and command.amount != expected:
        return AMOUNT_DIFFERS
    return None


def remembered_from(attempt: Attempt, kind: ReportKind) -> int:
    for known in attempt.reports:
        if known.kind == kind:
            return known.from_sequence
    return 1
