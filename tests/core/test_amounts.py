"""Amounts as people read them."""

from __future__ import annotations

import pytest

from core.values import format_amount


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
