"""Money, ids and closed sets of words: each field of core has the type that says which it is."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from typing import Any, Final

import msgspec
import pytest

from core.payment import commands, deadlines, events, instructions, report_table, state
from core.payment.operator import gate, verdicts
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
from tests.core.matrices import closed_sets
from tests.rooms import ROOT

STATE: Final = (
    state.Payment, state.Attempt, state.FundsRequestStatus, state.Approval, state.Conflict,
    state.Notification, state.SeenReport,
)  # fmt: skip
RECORDS: Final = (*events.EVENTS, *commands.INPUTS, *instructions.INSTRUCTIONS, *STATE)
TYPE_OF: Final[dict[str, Any]] = {
    "amount": Cents, "total": Cents, "held": Cents, "captured": Cents, "released": Cents,
    "debited": Cents, "reversed": Cents, "credited": Cents, "waived": Cents, "settled": Cents,
    "returns_sum": Cents, "returns_total": Cents, "payment_intent_id": PaymentIntentId,
    "external_ref": ExternalRef, "funds_ref": FundsRef, "hold_funds_ref": FundsRef,
    "approval_id": ApprovalId, "conflict_id": ConflictId, "frozen_by": ApprovalId,
}  # fmt: skip
# Fields that say one word of a closed set. `report_kind` of a conflict is not one of them: Deposits
# Core's has the reference in it.
WORDS: Final = {
    "kind", "verdict", "action", "operation", "phase", "failure_reason", "state", "state_after",
    "money_outcome", "result", "deadline_kind", "funds", "policy", "level", "ended_by", "recall",
    "outcome", "overdue", "status", "decision",
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


@pytest.mark.parametrize("record", RECORDS, ids=lambda each: each.__name__)
def test_a_word_of_a_closed_set_is_no_text(record: type[msgspec.Struct]) -> None:
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
        ("Role", gate.ADMINS | gate.APPROVERS | frozenset().union(*gate.ROLES_OF_ACTION.values())),
    ],
)
def test_a_set_for_the_type_checker_is_the_one_that_the_code_lists(
    name: str, listed: set[str]
) -> None:
    assert closed_sets()[name] == listed


def test_a_match_of_core_says_what_is_left() -> None:
    """The last arm takes no case by default: it is never reached, or refuses what is on a log or
    comes from outside.
    """
    left = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "core").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Match) and not refuses(node.cases[-1])
    ]
    assert left == []


def refuses(case: ast.match_case) -> bool:
    """`case _:` with assert_never, raise or return refuse, and no guard."""
    last = case.body[0]
    if not isinstance(case.pattern, ast.MatchAs) or case.pattern.pattern or case.guard:
        return False
    if isinstance(last, ast.Raise):
        return True
    call = last.value if isinstance(last, ast.Expr | ast.Return) else None
    name = call.func if isinstance(call, ast.Call) else None
    return isinstance(name, ast.Name) and name.id in ("assert_never", "refuse")
