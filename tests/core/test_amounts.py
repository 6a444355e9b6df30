"""Amounts as people read them."""

from __future__ import annotations

import pytest

from core import refusals as r
from core.values import attempt_id, attempt_number, format_amount
from tests.core import dsl as d


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
    """Issue 10, finding 10: minor units never reach a person without being formatted."""
    assert format_amount(cents, currency) == text


def test_a_refusal_names_amounts_as_people_read_them() -> None:
    """Issue 10, finding 10: the limit, and what an approval was given for."""
    case = d.given().when(d.create(amount=100_000_001)).refuses(r.AMOUNT_OVER_LIMIT)
    assert "AUD 1,000,000.00" in case.decision.sentence  # type: ignore[union-attr]


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
def test_an_attempt_is_named_by_its_number_or_by_its_name(text: str, number: int | None) -> None:
    """Issue 10, finding 10: `1` and `att_001` everywhere; finding 16: digits are 0 to 9."""
    assert attempt_number(text) == number


def test_an_attempt_s_own_name_is_its_number() -> None:
    """Issue 10, finding 10."""
    assert all(attempt_number(attempt_id(number)) == number for number in range(1, 1_000))
