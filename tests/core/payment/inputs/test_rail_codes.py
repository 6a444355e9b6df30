"""Raw rail codes stay in the event."""

from __future__ import annotations

import pytest

from tests.core.payment import dsl as d
from tests.core.payment.case import given


@pytest.mark.parametrize(("code", "table"), [("AC04", "default@1"), ("ZZ99", "default@1/unknown")])
def test_the_raw_code_and_the_table_that_read_it_stay_in_the_event(code: str, table: str) -> None:
    """INT-03, OP-27: the mapping is per adapter and versioned; the header names the rule set."""
    case = given(*d.SENT).when(d.rail("REJECTED", code))
    (failed,) = [each for each in case.history if type(each).__name__ == "PaymentFailed"]
    assert (failed.code, failed.code_table) == (code, table)
    assert failed.header.rule_set == 1
