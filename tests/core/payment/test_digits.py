"""`decide` raises on no well-formed input, and a digit is one of 0 to 9.

"²" is a digit to Python but no number; "٣" is both, and makes another id than "3".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.decider import Accepted, Duplicate, Refusal, Unmatched
from core.payment import commands as c
from core.payment.decide import ORIGINS
from core.payment.state import pack
from core.values import Parties, Party, attempt_of_external_ref, payment_id_of_external_ref
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

# A superscript, an Arabic-Indic, a fullwidth and a mathematical digit; a Roman numeral.
DIGITS = ("²", "٣", "３", "𝟛", "Ⅲ")
INPUTS: list[Any] = [
    d.create(uetr="0b6d7a6e-5f7c-4f2e-8d7b-3f8f1d9f6a01", customer_id="cust_9"),
    d.expire(),
    d.expire(d.SENIOR),
    d.request_approval("CANCEL"),
    d.request_approval("RETRY"),
    d.request_approval("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="REPORT_WRONG"),
    d.request_approval("MARK_FAILED", failure_reason="RAIL"),
    d.retry(),
    d.cancel(customer_id="cust_9"),
    d.mark_failed(),
    d.resolve("REPORT_WRONG"),
    d.release_early(),
    d.reverse(),
    d.debit_again(),
    d.repeat_funds("CAPTURE"),
    d.person_decides(),
    d.resolve_decides(),
    d.policy(),
    d.held(),
    d.deposits("RELEASE", "RELEASED"),
    d.deposits("CAPTURE", "REFUSED", code="HOLD_GONE"),
    c.ResumeProcessing(
        header=d.head(), operator=d.by(d.ADMIN), requested_by="adm_002", reason="mended"
    ),
    c.NotificationResult(
        header=d.head(),
        notification_id="ntf_001",
        kind="failed",
        result="DELIVERED",
        delivered_at=5,
        channel="app",
    ),
    c.TimerDue(header=d.head(), kind="ENQUIRY", deadline=d.START),
    *(
        d.rail(
            kind,
            "AC01",
            amount=d.AMOUNT,
            currency="AUD",
            rail_message_id="m1",
            transaction_id="t1",
            details="d",
            technical_result="200",
        )
        for kind in ("RECEIVED", "ACCEPTED", "SETTLED", "REJECTED", "RETURNED", "STATUS")
    ),
]
STATES: dict[str, list[Any]] = {
    "NONE": [],
    "CREATED": [d.create()],
    "SENT": d.SENT,
    "FAILED": d.FAILED_SAFE,
    "conflict": [*d.MARKED, d.rail("SETTLED")],
    "CAPTURED": d.CAPTURED,
}


def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every text that an input contains."""
    for name in value.__struct_fields__:
        found = getattr(value, name)
        if isinstance(found, str):
            yield (*path, name)
        elif isinstance(found, msgspec.Struct):
            yield from texts(found, (*path, name))


def changed(value: Any, path: tuple[str, ...], new: str) -> Any:
    """The input with `new` as the last character of the text at `path`."""
    name, *rest = path
    found = getattr(value, name)
    mine = changed(found, tuple(rest), new) if rest else found[:-1] + new
    return msgspec.structs.replace(value, **{name: mine})


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("number", range(len(INPUTS)), ids=lambda n: type(INPUTS[n]).__name__)
def test_no_text_of_any_input_makes_decide_raise(number: int, state: str) -> None:
    """Each text of each input ends in a digit outside 0 to 9."""
    command = INPUTS[number]
    case = given(*STATES[state])
    before = None if case.state is None else pack(case.state)
    origin = None if type(command) in ORIGINS else ("operator" if command.operator else "upstream")
    for path in texts(command):
        for digit in DIGITS:
            fresh = Case()
            fresh.state, fresh.now, fresh.offset = case.state, case.now, case.offset
            fresh.give(changed(command, path, digit), origin)
    assert before == (None if case.state is None else pack(case.state))


@pytest.mark.parametrize("digit", DIGITS)
def test_a_reference_with_a_non_ascii_digit_matches_nothing(digit: str) -> None:
    """References of the rail, of Deposits Core and of the policy check."""
    reference = d.REF[:-1] + digit
    assert payment_id_of_external_ref(reference) is None
    assert attempt_of_external_ref(reference) is None
    case = given(*d.SENT)
    case.when(msgspec.structs.replace(d.rail("ACCEPTED"), external_ref=reference))
    case.refuses(r.FIELD_INVALID)
    case.when(msgspec.structs.replace(d.held(), funds_ref=f"{reference}H01")).refuses(r.ID_MISMATCH)
    case.when(msgspec.structs.replace(d.held(), funds_ref=f"{d.REF}H0{digit}"))
    case.refuses(r.FIELD_INVALID)
    case.when(msgspec.structs.replace(d.policy(), policy_ref=f"{reference}P01")).is_unmatched()


@pytest.mark.parametrize(("ours", "other"), [("S", "ſ"), ("K", "\N{KELVIN SIGN}")])
def test_a_reference_with_a_non_ascii_letter_matches_nothing(ours: str, other: str) -> None:
    """Domain §2: references are compared without case, which maps "ſ" to S and the Kelvin sign to
    k: a report for another payment's reference would be taken for ours.
    """
    reference = d.REF.replace(ours, other)
    assert reference != d.REF
    assert d.REF in (reference.upper(), reference.lower().upper())
    assert payment_id_of_external_ref(reference) is None
    assert attempt_of_external_ref(reference) is None
    case = given(*d.SENT)
    case.when(msgspec.structs.replace(d.rail("ACCEPTED"), external_ref=reference))
    case.refuses(r.FIELD_INVALID)


@pytest.mark.parametrize("digit", DIGITS)
def test_an_attempt_or_conflict_with_a_non_ascii_digit_does_not_exist(digit: str) -> None:
    """`att_00²` is no attempt, `cnf_00²` no conflict, `apr_00²` no approval."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"))
    again = c.RetryPayment(
        header=d.head(), operator=d.by(d.SENIOR), attempt_id=f"att_00{digit}", reason="again"
    )
    case.when(again).refuses(r.FIELD_INVALID)
    conflict = given(*d.MARKED, d.rail("SETTLED"))
    conflict.when(d.resolve("REPORT_WRONG", f"cnf_00{digit}")).refuses(r.CONFLICT_NOT_OPEN)
    conflict.when(d.person_decides(approval=f"apr_00{digit}")).refuses(r.APPROVAL_NOT_FOUND)


@pytest.mark.parametrize("digit", DIGITS)
def test_a_bsb_account_or_payid_with_a_non_ascii_digit_breaks_a_constraint(digit: str) -> None:
    """Domain §7: ASCII digits."""
    good = d.PARTIES.debtor
    wrong = [
        Parties(debtor=Party(name="A", bsb=f"06200{digit}", account="12345678"), creditor=good),
        Parties(debtor=Party(name="A", bsb="062000", account=f"1234567{digit}"), creditor=good),
        Parties(
            debtor=good,
            creditor=Party(
                name="B", bsb=None, account=None, pay_id_type="TELI", pay_id=f"+61-41234567{digit}"
            ),
        ),
        Parties(
            debtor=good,
            creditor=Party(
                name="B", bsb=None, account=None, pay_id_type="AUBN", pay_id=f"5300421761{digit}"
            ),
        ),
    ]
    for parties in wrong:
        Case().when(d.create(parties=d.sealed(parties))).refuses(r.NPP_CONSTRAINT)


def test_the_unchanged_inputs_of_these_tests_are_accepted() -> None:
    """Each unchanged input is accepted somewhere, and every kind of input is covered."""
    assert {type(x) for x in INPUTS} == set(c.INPUTS)
    for command in INPUTS:
        answers = []
        for before in STATES.values():
            case = given(*before)
            origin = None
            if type(command) not in ORIGINS:
                origin = "operator" if command.operator else "upstream"
            answers.append(case.give(command, origin))
        shape = [x for x in answers if isinstance(x, Refusal) and x.code == "VALIDATION_FAILED"]
        assert len(shape) < len(answers), command
        assert any(not isinstance(x, Unmatched) for x in answers), command
    assert isinstance(given(*d.SENT).give(d.rail("SETTLED")), Accepted)
    assert isinstance(given(*d.SENT).give(d.held()), Duplicate)


@pytest.mark.parametrize(
    "reference",
    [
        f"M{d.REF[1:]}",
        d.REF[1:],
        f"{d.REF}1",
        f"{d.REF[:-1]} ",
        f"{d.REF[:-3]}-01",
        "",
    ],
    ids=["another letter", "no letter", "too long", "a space", "a sign", "nothing"],
)
def test_what_has_not_the_form_of_a_reference_is_none(reference: str) -> None:
    """Domain §2: N, 26 characters, three digits."""
    assert attempt_of_external_ref(reference) is None
    assert payment_id_of_external_ref(reference) is None
