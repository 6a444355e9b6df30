"""Tests of the auditor itself: a clean history passes, and each corruption is found by name."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace

import fastavro
import pytest

from tests.auditor import audit
from tests.auditor.corruptions import CORRUPTIONS
from tests.auditor.evidence import EVENTS
from tests.auditor.forger import Forger, the_clean_one
from tests.auditor.wire import murmur2_partition, payment_of, reference_of


@pytest.fixture
def forger() -> Forger:
    evidence, names = the_clean_one()
    own = replace(
        evidence,
        records={topic: list(records) for topic, records in evidence.records.items()},
        rail=copy.deepcopy(evidence.rail),
        deposits=copy.deepcopy(evidence.deposits),
        stable=dict(evidence.stable),
        positions=dict(evidence.positions or {}),
    )
    return Forger(own, names)


def test_a_clean_history_has_no_violation_and_is_not_vacuous(forger: Forger) -> None:
    """NV: the run behind the corrupted ones contains every kind of thing that they damage."""
    report = audit(forger.evidence)
    assert report.violations == [], report.text()
    for name in (
        "PaymentSettled", "PaymentFailed", "ReconciliationRequired", "FundsReleased",
        "FundsHoldTransferred", "outcome DUPLICATE", "rule IDEMPOTENCY_KEY_REUSED",
        "quarantined UNDECODABLE", "checkpointed events", "settled twice",
    ):  # fmt: skip
        assert report.counters[name] > 0, (name, report.counters)


def test_the_published_recipes_have_their_published_values() -> None:
    """IDM-06: the auditor's own formula for ids agrees with the published vector."""
    payment = payment_of("mobile-app", "key-0001")
    assert payment == "pi_pdkz22ub6ujnprx6nas575vbxy"
    assert reference_of(payment, 1) == "NPDKZ22UB6UJNPRX6NAS575VBXY001"
    # Vectors from Apache Kafka's own UtilsTest.testMurmur2, as positive numbers modulo 2^31.
    assert murmur2_partition(b"21", 1 << 31) == -973932308 & 0x7FFFFFFF
    assert murmur2_partition(b"foobar", 1 << 31) == -790332482 & 0x7FFFFFFF
    assert murmur2_partition(b"a-little-bit-long-string", 1 << 31) == -985981536 & 0x7FFFFFFF


# -- corruptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corrupt", "invariant"), CORRUPTIONS, ids=lambda x: getattr(x, "__name__", x)
)
def test_a_corrupted_history_is_found_by_the_right_invariant(
    forger: Forger, corrupt: Callable[[Forger], None], invariant: str
) -> None:
    corrupt(forger)
    report = audit(forger.evidence)
    assert invariant in report.invariants(), report.text()


def test_two_settled_references_are_allowed_only_after_an_approved_uncertain_retry(
    forger: Forger,
) -> None:
    """I5's one exception: RETRY_UNCERTAIN was approved, and a conflict is open."""
    report = audit(forger.evidence)
    assert report.counters["settled twice"] == 1
    record = forger.find(EVENTS, "OperatorActionRequested", forger.names["uncertain"], -1)
    forger.rewrite(record, action="RETRY")
    assert "I5" in audit(forger.evidence).invariants()


def test_an_unknown_schema_is_a_violation(forger: Forger) -> None:
    """An unreadable journal record is a violation, not a gap in the check."""
    record = forger.evidence.records[EVENTS][3]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "string"}, "x")
    forger.put(record, replace(record, value=b"\0\x7f\xff\xff\xff" + out.getvalue()))
    assert "I3" in audit(forger.evidence).invariants()
