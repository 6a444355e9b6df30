"""Money, ids and closed sets of words: each field of core has the type that identifies it."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any, Final

import msgspec
import pytest

from core import closed_sets, words
from core.control_records import DispositionRequested
from core.monitoring import Incident, ProofState
from core.payment import commands, deadlines, events, instructions, report_table, state
from core.payment.operator import gate, verdicts
from core.records import Outcome, PaymentLifecycle
from core.refusals import CODES
from core.values import (
    FUNDS_LETTER,
    Action,
    ApprovalId,
    Cents,
    ConflictId,
    ExternalRef,
    FailureReason,
    FundsOperation,
    FundsRef,
    MoneyOutcome,
    PaymentIntentId,
    State,
)
from processors.rail.record import EVIDENCE
from readmodel import rows

STATE: Final = (
    state.Payment, state.Attempt, state.FundsRequestStatus, state.Approval, state.Conflict,
    state.Notification, state.SeenReport,
)  # fmt: skip
ROWS: Final = (
    rows.PaymentRow, rows.EventRow, rows.ApprovalRow, rows.ConflictRow, rows.OutcomeRow,
    rows.QuarantineRow, rows.IncidentRow,
)  # fmt: skip
BESIDE: Final = (Outcome, PaymentLifecycle, Incident, ProofState, DispositionRequested)
RECORDS: Final = (*events.EVENTS, *commands.INPUTS, *instructions.INSTRUCTIONS, *STATE)
TYPE_OF: Final[dict[str, Any]] = {
    "amount": Cents, "total": Cents, "held": Cents, "captured": Cents, "released": Cents,
    "debited": Cents, "reversed": Cents, "credited": Cents, "waived": Cents, "settled": Cents,
    "returns_sum": Cents, "returns_total": Cents, "payment_intent_id": PaymentIntentId,
    "external_ref": ExternalRef, "funds_ref": FundsRef, "hold_funds_ref": FundsRef,
    "approval_id": ApprovalId, "conflict_id": ConflictId, "frozen_by": ApprovalId,
}  # fmt: skip
# Fields that hold one word of a closed set. A conflict's `report_kind` is not one: for Deposits
# Core it contains the reference.
WORDS: Final = {
    "kind", "verdict", "action", "operation", "phase", "failure_reason", "state", "state_after",
    "money_outcome", "result", "deadline_kind", "funds", "policy", "level", "ended_by", "recall",
    "outcome", "overdue", "status", "decision", "ruling", "why",
}  # fmt: skip


def plain(hint: Any) -> Any:
    """The type without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(each for each in typing.get_args(hint) if each is not type(None))
    return hint


@pytest.mark.parametrize("record", RECORDS, ids=lambda each: each.__name__)
def test_money_and_ids_have_types_of_their_own(record: type[msgspec.Struct]) -> None:
    hints = typing.get_type_hints(record)
    wrong = {
        name: hint
        for name, hint in hints.items()
        if name in TYPE_OF and plain(hint) is not TYPE_OF[name]
    }
    assert wrong == {}


@pytest.mark.parametrize("record", [*RECORDS, *BESIDE, *ROWS], ids=lambda each: each.__name__)
def test_a_word_of_a_closed_set_is_not_a_plain_str(record: type[msgspec.Struct]) -> None:
    declared = [inspect.get_annotations(each) for each in record.__mro__]
    said = {name: str(hint).split(" | ")[0] for own in declared for name, hint in own.items()}
    assert {name for name, hint in said.items() if name in WORDS and hint == "str"} == set()


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("StateName", {each.value for each in State}),
        ("MoneyOutcomeName", {each.value for each in MoneyOutcome}),
        ("FailureReasonName", {each.value for each in FailureReason}),
        ("ActionName", {each.value for each in Action}),
        ("ActionName", set(gate.ROLES_OF_ACTION)),
        ("OperationName", {each.value for each in FundsOperation}),
        ("OperationName", set(FUNDS_LETTER)),
        ("ReportKind", set(report_table.KINDS)),
        ("SeenKind", {*report_table.KINDS, "NOTED"}),
        ("ConflictKind", {kind for kind, _ in verdicts.VERDICT_TABLE}),
        ("Verdict", set(verdicts.VERDICTS)),
        ("DeadlineKind", set(deadlines.KINDS)),
        ("RefusalCode", set(CODES)),
        ("SubmissionPhase", set(EVIDENCE)),
        ("Role", gate.ADMINS | gate.APPROVERS | frozenset().union(*gate.ROLES_OF_ACTION.values())),
    ],
)
def test_the_type_checkers_sets_equal_the_codes_lists(name: str, listed: set[str]) -> None:
    assert set(typing.get_args(getattr(closed_sets, name))) == listed


def test_a_misspelt_set_is_an_error_at_run_time_too() -> None:
    """`core.words` gives each set as `str`, and nothing else."""
    assert vars(words)["__getattr__"]("StateName") is str
    with pytest.raises(AttributeError, match=r"StateNam$"):
        vars(words)["__getattr__"]("StateNam")
    assert not hasattr(words, "__wrapped__")
