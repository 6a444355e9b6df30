"""Amounts as operators read them."""

from __future__ import annotations

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.instructions import ApprovalRequest
from core.values import Cents, attempt_id, attempt_number, format_amount
from tests.core.payment import dsl as d
from tests.core.payment.case import given


@pytest.mark.parametrize(
    ("cents", "currency", "text"),
    [
        (1858, "AUD", "AUD 18.58"),
        (5, "AUD", "AUD 0.05"),
        (0, "AUD", "AUD 0.00"),
        (12550, "AUD", "AUD 125.50"),
        (100_000_000, "AUD", "AUD 1,000,000.00"),
        (-1858, "AUD", "AUD -18.58"),
        (-5, "AUD", "AUD -0.05"),
        (1858, "NZD", "NZD 18.58"),
    ],
)
def test_an_amount_is_written_in_whole_units_and_cents(
    cents: int, currency: str, text: str
) -> None:
    """Operators never see unformatted minor units."""
    assert format_amount(Cents(cents), currency) == text


def test_a_refusal_formats_amounts() -> None:
    """The limit, and the amount that was approved."""
    case = given().when(d.create(amount=100_000_001)).refuses(r.AMOUNT_OVER_LIMIT)
    assert "AUD 1,000,000.00" in case.decision.sentence  # type: ignore[union-attr]


CENTS_1858 = [
    d.create(amount=1_858), d.policy(), d.deposits("HOLD", "HELD", amount=1_858),
]  # fmt: skip


def test_a_conflict_names_its_amount_formatted_and_in_cents() -> None:
    """ "SETTLED of 1858 AUD" was shown for 18.58 dollars."""
    case = given(*CENTS_1858).when(d.rail("SETTLED", "ACSC", amount=1_857, currency="AUD"))
    made = case.event(e.ReconciliationRequired)
    assert made.detail == "SETTLED ACSC of AUD 18.57 for att_001, which is SENT"
    assert (made.amount, made.currency) == (1_857, "AUD")
    other = given(*CENTS_1858).when(d.rail("SETTLED", amount=185_800, currency="NZD"))
    assert "of NZD 1,858.00 for" in other.event(e.ReconciliationRequired).detail
    without = given(*d.MARKED).when(d.rail("SETTLED"))
    assert without.event(e.ReconciliationRequired).detail == (
        "SETTLED for att_001, which is FAILED"
    )


def test_a_conflict_about_funds_names_both_amounts() -> None:
    """The amount that Deposits Core says it moved, and the requested amount."""
    case = given(*CENTS_1858).when(d.deposits("HOLD", "HELD", amount=1_800))
    made = case.event(e.ReconciliationRequired)
    assert "HELD AUD 18.00, asked AUD 18.58" in made.detail
    assert (made.amount, made.currency) == (1_800, "AUD")


def test_refusals_of_verdicts_and_approvals_format_amounts() -> None:
    """Bound to AUD 123.45, given for another amount."""
    case = given(*d.CAPTURED, *d.approved("REVERSE"))
    back = d.rail("RETURNED", amount=1_858, currency="AUD", rail_message_id="r1")
    case.given(back, d.deposits("CREDIT", "CREDITED", amount=1_858))
    case.when(d.reverse()).refuses(r.APPROVAL_OTHER_PARAMETERS)
    assert "AUD 123.45" in case.sentence
    assert "AUD 104.87" in case.sentence


def test_no_text_of_the_history_has_an_unformatted_amount() -> None:
    """An amount in an event's text is also in a structured field."""
    case = given(*CENTS_1858, d.rail("SETTLED", amount=1_857, currency="AUD"))
    words = {"conflict_id": "cnf_001", "verdict": "AMOUNT_ACCEPTED"}
    case.when(d.request_approval("RESOLVE_RECONCILIATION", **words))
    (request,) = (x for x in case.instructions if isinstance(x, ApprovalRequest))
    assert (request.amount, request.currency) == (1_857, "AUD")
    for event in case.history:
        for field in ("detail", "text", "details", "why"):
            said = getattr(event, field, None) or ""
            assert "1857" not in said
            assert "1858" not in said


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), ("01", 1), ("001", 1), ("att_001", 1), ("att_1", None), ("20", 20),
        ("att_020", 20),
        ("999", 999), ("0", None), ("000", None), ("att_000", None), ("1000", None), ("", None),
        ("att_", None), ("-1", None), ("1.0", None), (" 1", None), ("1_0", None), ("²", None),
        ("١", None), ("ATT_001", None), ("att_att_1", None), ("0x1", None),
    ],
)  # fmt: skip
def test_an_attempt_is_accepted_by_its_number_or_its_name(text: str, number: int | None) -> None:
    """`1` and `att_001` everywhere; digits are 0 to 9."""
    assert attempt_number(text) == number


def test_an_attempt_s_own_name_is_its_number() -> None:
    assert all(attempt_number(attempt_id(number)) == number for number in range(1, 1_000))
