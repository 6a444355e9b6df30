"""Intake by example: the happy path, identity, formats, and the order of checks. Each accepted
input is decided twice.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.decider import Accepted, Refusal
from core.header import InputHeader
from core.payment import commands as c
from core.payment.instructions import RailInstruction
from core.payment.state import (
    at_rest,
    current_external_ref,
)
from core.values import Parties, Party, payment_intent_id
from tests.core.payment import dsl as d
from tests.core.payment.case import given

ACCEPT_OTHER = d.rail("SETTLED", amount=d.AMOUNT - 5, currency="AUD")
SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")


# -- the happy path --------------------------------------------------------------------------------


def test_a_payment_is_created_held_and_checked_at_once() -> None:
    """SM-07, AP, INT-05."""
    case = given().when(d.create()).then("PaymentIntentCreated", "FundsRequested:HOLD")
    case.instructs("PolicyCheckRequest", "HOLD").is_in("CREATED", "OPEN", "HOLD_REQUESTED")
    assert current_external_ref(case.payment) is None


def test_it_is_sent_only_when_funds_and_policy_both_pass() -> None:
    """SM-08, SM-09, ruling 12: the second passing answer authorises, creates the attempt and sends,
    once.
    """
    case = given(d.create()).when(d.held()).then("FundsHeld").instructs()
    case.when(d.policy()).then(
        "PolicyChecked", "PaymentAuthorised", "PaymentAttemptCreated:att_001", "PaymentSentToRail"
    ).instructs("SUBMIT")
    submit = case.decision.instructions[0]  # type: ignore[union-attr]
    assert isinstance(submit, RailInstruction)
    assert (submit.external_ref, submit.parties) == (d.REF, d.SEALED)
    assert submit.submit_before == d.START + 60_000


def test_a_settlement_before_its_acknowledgement_implies_it_and_the_late_one_is_a_duplicate() -> (
    None
):
    """SM-10, ruling 4."""
    case = given(*d.SENT).when(SETTLE)
    case.then("PaymentAcknowledged:ACKNOWLEDGED", "PaymentSettled", "FundsRequested:CAPTURE")
    case.when(d.rail("ACCEPTED", "ACSP", rail_message_id="a1")).is_duplicate(8, 10)
    case.given(d.deposits("CAPTURE", "CAPTURED")).is_in("SETTLED", "PAID", "CAPTURED")
    assert at_rest(case.payment)


def test_a_settled_payment_comes_back_only_as_a_return_credited_once() -> None:
    """Ruling 13, OP-32."""
    case = given(*d.CAPTURED).when(d.rail("RETURNED", "AC04", amount=d.AMOUNT, currency="AUD"))
    case.then("PaymentReturned", "FundsRequested:CREDIT").is_in("SETTLED", "RETURNED")
    case.given(d.deposits("CREDIT", "CREDITED")).is_in("SETTLED", "RETURNED", "CREDITED")


# -- identity and the order of checks --------------------------------------------------------------


def test_an_altered_create_names_the_first_difference_in_the_binding_order() -> None:
    """IDM-03, OP-26: amount, currency, debtor, creditor, endToEndId, remittance, service."""
    other = Party(name="Someone", bsb="999999", account="1")
    both = d.sealed(Parties(debtor=other, creditor=other, remittance="another"))
    changes: list[tuple[str, dict[str, Any]]] = [
        ("amount", {"amount": 1}),
        ("currency", {"currency": "USD"}),
        ("debtor account", {"parties": both}),
        (
            "creditor account or PayID",
            {"parties": d.sealed(Parties(debtor=d.PARTIES.debtor, creditor=other, remittance="x"))},
        ),
        ("endToEndId", {"end_to_end_id": "other"}),
        (
            "remittance",
            {
                "parties": d.sealed(
                    Parties(
                        debtor=d.PARTIES.debtor, creditor=d.PARTIES.creditor, remittance="other"
                    )
                )
            },
        ),
        ("service", {"service": "sct"}),
    ]
    for index, (field, _) in enumerate(changes):
        merged: dict[str, Any] = {}
        for _, change in reversed(changes[index:]):
            merged |= change
        case = given(*d.CAPTURED).when(d.create(**merged)).refuses(r.IDEMPOTENCY_KEY_REUSED)
        assert isinstance(case.decision, Refusal)
        assert case.decision.first_difference == field


def test_names_times_and_tracing_are_not_content() -> None:
    """IDM-02: the first result again, as its range of sequences."""
    renamed = d.sealed(
        Parties(
            debtor=Party(name="Other Name", bsb="062000", account="12345678"),
            creditor=Party(name="B", bsb="082001", account="87654321"),
            remittance="invoice 17",
        )
    )
    same = d.create(
        parties=renamed,
        header=InputHeader(
            payment_intent_id=d.ID, command_id="other", sent_at=7, traceparent="trace"
        ),
        expires_at=9,
    )
    given(*d.CAPTURED).when(same).is_duplicate(1, 2)


NUL = {"idempotency_key": "a\0b"}
CREATES: list[tuple[str, dict[str, Any], Any]] = [
    ("no source", {"source": ""}, r.FIELD_MISSING),
    ("no key", {"idempotency_key": ""}, r.FIELD_MISSING),
    ("NUL in the key", NUL, r.FIELD_INVALID),
    ("long key", {"idempotency_key": "k" * 129}, r.FIELD_INVALID),
    ("lone surrogate", {"customer_id": "\ud800"}, r.FIELD_INVALID),
    ("wrong id before a foreign source", {"source": "payroll-batch"}, r.ID_MISMATCH),
    ("no endToEndId", {"end_to_end_id": ""}, r.FIELD_MISSING),
    ("unknown service", {"service": "cheque"}, r.FIELD_INVALID),
    ("zero", {"amount": 0}, r.AMOUNT_NOT_POSITIVE),
    ("negative", {"amount": -1}, r.AMOUNT_NOT_POSITIVE),
    ("not AUD", {"currency": "NZD"}, r.CURRENCY_NOT_AUD),
    ("over the limit", {"amount": 100_000_001}, r.AMOUNT_OVER_LIMIT),
    ("long endToEndId", {"end_to_end_id": "e" * 36}, r.FIELD_INVALID),
    ("bad UETR", {"uetr": "not-a-uuid"}, r.NPP_CONSTRAINT),
    (
        "too far ahead",
        {"requested_execution_time": d.START + 24 * 60 * d.MINUTE + 1},
        r.EXECUTION_TOO_FAR,
    ),
    (
        "expires first",
        {"requested_execution_time": d.START + 9, "expires_at": d.START + 9},
        r.EXPIRES_BEFORE_EXECUTION,
    ),
]


@pytest.mark.parametrize(("_name", "changes", "rule"), CREATES, ids=[x[0] for x in CREATES])
def test_a_create_is_refused_by_name(_name: str, changes: dict[str, Any], rule: r.Rule) -> None:
    """SM-13, SM-14, OP-09: a bad shape is VALIDATION_FAILED; what NPP forbids is
    INVARIANT_VIOLATION.
    """
    given().when(d.create(**changes)).refuses(rule)


PAY_IDS: list[tuple[str, str, bool]] = [
    ("TELI", "+61-412345678", True),
    ("TELI", "0412345678", False),
    ("TELI", "+61-412345678\n", False),
    ("EMAL", "ben@example.com.au", True),
    ("EMAL", "Ben@example.com.au", False),
    ("EMAL", "b" * 250 + "@x.com.au", False),
    ("AUBN", "53004085616", True),
    ("AUBN", "004085616", True),
    ("AUBN", "1234567890", False),
    ("AUBN", "٠٠٤٠٨٥٦١٦", False),
    ("ORGN", "ben's shop", True),
    ("FAXN", "1", False),
]


@pytest.mark.parametrize(("kind", "value", "good"), PAY_IDS)
def test_pay_ids_keep_the_npp_formats(kind: str, value: str, good: bool) -> None:
    """D7."""
    payee = Party(name="Ben", pay_id_type=kind, pay_id=value)
    case = given().when(
        d.create(parties=d.sealed(Parties(debtor=d.PARTIES.debtor, creditor=payee)))
    )
    assert isinstance(case.decision, Accepted) == good
    if not good:
        case.refuses(r.NPP_CONSTRAINT)


@pytest.mark.parametrize(
    ("debtor", "rule"),
    [
        (Party(name="A", bsb="06200", account="1"), r.NPP_CONSTRAINT),
        (Party(name="A", bsb="٠٦٢٠٠٠", account="1"), r.NPP_CONSTRAINT),
        (Party(name="A", bsb="062000", account="1234567890"), r.NPP_CONSTRAINT),
        (Party(name="A", bsb="062000", account=None), r.FIELD_MISSING),
        (Party(name="", bsb="062000", account="1"), r.FIELD_MISSING),
        (
            Party(name="A", bsb=None, account=None, pay_id_type="EMAL", pay_id="a@b.au"),
            r.FIELD_INVALID,
        ),
    ],
)
def test_the_debtor_has_a_bsb_and_an_account(debtor: Party, rule: r.Rule) -> None:
    """D7, SM-14."""
    given().when(
        d.create(parties=d.sealed(Parties(debtor=debtor, creditor=d.PARTIES.creditor)))
    ).refuses(rule)


def test_a_used_key_is_checked_before_the_amount() -> None:
    """D5: duplicate before invariant, role before duplicate, shape before role."""
    case = given(d.create())
    case.when(d.create(amount=-1)).refuses(r.IDEMPOTENCY_KEY_REUSED)
    case.sources = frozenset({"payroll-batch"})
    case.when(d.create(amount=-1)).refuses(r.SOURCE_NOT_ENTITLED)
    case.when(d.create(amount=-1, service="cheque")).refuses(r.FIELD_INVALID)


ORDER: list[tuple[str, Any, list[Any], r.Rule]] = [
    (
        "shape",
        c.CancelPayment(header=d.head(), operator=d.by("viewer_1"), reason=""),
        [],
        r.FIELD_MISSING,
    ),
    (
        "role",
        c.CancelPayment(header=d.head(), operator=d.by("viewer_1"), reason="why"),
        [],
        r.MISSING_ROLE,
    ),
    ("known", d.cancel(), [], r.NOT_FOUND),
    (
        "in time",
        c.CancelPayment(header=d.head(), operator=d.by(d.SENIOR, not_after=1), reason="why"),
        d.CAPTURED,
        r.COMMAND_EXPIRED,
    ),
    ("state", d.cancel(), d.CAPTURED, r.STATE_PRECONDITION),
    ("conflict", d.cancel(), [*d.SENT, ACCEPT_OTHER], r.CONFLICT_OPEN),
    ("approval", d.cancel(), d.SENT, r.APPROVAL_MISSING),
    (
        "invariant",
        d.cancel(customer_id="cust_2"),
        [d.create(customer_id="cust_1"), *d.approved("CANCEL")],
        r.CUSTOMER_MISMATCH,
    ),
]


@pytest.mark.parametrize(("_name", "command", "before", "rule"), ORDER, ids=[x[0] for x in ORDER])
def test_the_order_of_checks(_name: str, command: Any, before: list[Any], rule: r.Rule) -> None:
    """D5, OP-08."""
    given(*before).when(command).refuses(rule)


def test_a_record_on_the_wrong_kind_of_topic_is_no_command() -> None:
    """SEC-06: an operator's command counts only from the operators' topic, a report only from the
    rail's.
    """
    case = given(*d.SENT)
    case.when(d.cancel(), "upstream").refuses(r.WRONG_TOPIC)
    case.when(SETTLE, "upstream").refuses(r.WRONG_TOPIC)
    case.when(d.expire(), "operator").refuses(r.FIELD_INVALID)
    case.when(d.expire(d.SENIOR), "upstream").refuses(r.FIELD_INVALID)


def test_reports_of_unknown_payments_and_attempts_match_nothing() -> None:
    """D2, OP-24."""
    for report in (SETTLE, d.held(), d.policy(), d.resolve_decides()):
        given().when(report).is_unmatched()
    given(*d.SENT).when(d.rail("SETTLED", attempt=2)).is_unmatched()
    given(*d.SENT).when(d.deposits("RELEASE", "RELEASED")).is_unmatched()
    foreign = d.rail("SETTLED")
    other = foreign.external_ref[:1] + "A" * 26 + "001"
    given(*d.SENT).when(msgspec.structs.replace(foreign, external_ref=other)).refuses(r.ID_MISMATCH)


def test_a_reference_may_come_back_in_any_case() -> None:
    """D2: references are compared without case."""
    report = msgspec.structs.replace(d.rail("ACCEPTED"), external_ref=d.REF.lower())
    given(*d.SENT).when(report).then("PaymentAcknowledged")


def test_the_payment_id_equals_the_published_vector() -> None:
    """D2, IDM-06: SHA-256 of source, NUL and key, 16 bytes, lower-case base32 without padding."""
    assert payment_intent_id("mobile-app", "key-0001") == "pi_pdkz22ub6ujnprx6nas575vbxy"
    for number in range(200):
        digest = hashlib.sha256(b"s\0" + str(number).encode()).digest()[:16]
        plain = base64.b32encode(digest).decode().rstrip("=").lower()
        assert payment_intent_id("s", str(number)) == f"pi_{plain}"
