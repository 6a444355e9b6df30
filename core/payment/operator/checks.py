"""Shapes and formats: what a field may contain (domain §7). No state is read here.

A missing or malformed field is VALIDATION_FAILED; a value that the NPP does not allow is
INVARIANT_VIOLATION.
"""

from __future__ import annotations

import re
from typing import Final

from core.decider import Refusal
from core.header import OperatorHeader
from core.refusals import FIELD_INVALID, FIELD_MISSING, NPP_CONSTRAINT, refuse
from core.rules import Limits
from core.values import Party, ascii_digits

SERVICES: Final = frozenset({"x2p1", "sct"})
PAY_ID_CHARACTERS_MAX: Final = 256
ROLES_MAX: Final = 32
ID_CHARACTERS_MAX: Final = 128

_UETR: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII
)
_TELI: Final = re.compile(r"\+[0-9]{1,3}-[1-9][0-9]{1,29}", re.ASCII)
_EMAL: Final = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+", re.ASCII)
_AUBN: Final = re.compile(r"[0-9]{9}([0-9]{2})?", re.ASCII)
_ATTEMPT_ID: Final = re.compile(r"att_[0-9]{3}", re.ASCII)


def text_problem(value: str, characters_max: int) -> str | None:
    """The problem with a text: too long, NUL or a lone surrogate. The content is not checked."""
    if len(value) > characters_max:
        return f"is longer than {characters_max} characters"
    if "\0" in value:
        return "holds NUL"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds a lone surrogate"
    return None


def needed_text(field: str, value: str, characters_max: int) -> Refusal | None:
    """A required, non-blank text."""
    if not value or value.isspace():
        return refuse(FIELD_MISSING, field=field)
    problem = text_problem(value, characters_max)
    return None if problem is None else refuse(FIELD_INVALID, field=field, problem=problem)


def optional_text(field: str, value: str | None, characters_max: int) -> Refusal | None:
    if value is None:
        return None
    problem = text_problem(value, characters_max)
    return None if problem is None else refuse(FIELD_INVALID, field=field, problem=problem)


def operator(header: OperatorHeader) -> Refusal | None:
    """The operator's header, which every operator command carries."""
    if len(header.roles) > ROLES_MAX:
        return refuse(FIELD_INVALID, field="roles", problem="has too many entries")
    return needed_text("operatorId", header.operator_id, ID_CHARACTERS_MAX) or optional_text(
        "approvalId", header.approval_id, ID_CHARACTERS_MAX
    )


def is_attempt_id(value: str) -> bool:
    return _ATTEMPT_ID.fullmatch(value) is not None


def debtor_shape(party: Party, limits: Limits) -> Refusal | None:
    """The payer has a name, a BSB and an account."""
    if party.pay_id is not None or party.pay_id_type is not None:
        return refuse(FIELD_INVALID, field="debtor", problem="has a PayID, which only payees have")
    if not party.bsb or not party.account:
        return refuse(FIELD_MISSING, field="debtor account")
    return needed_text("debtor name", party.name, limits.name_characters_max)


def creditor_shape(party: Party, limits: Limits) -> Refusal | None:
    """The payee has a name and either BSB and account, or a PayID and its type."""
    if party.pay_id is not None or party.pay_id_type is not None:
        if party.bsb or party.account:
            return refuse(
                FIELD_INVALID, field="creditor", problem="has both an account and a PayID"
            )
        if not party.pay_id or not party.pay_id_type:
            return refuse(FIELD_MISSING, field="creditor PayID")
    elif not party.bsb or not party.account:
        return refuse(FIELD_MISSING, field="creditor account")
    return needed_text("creditor name", party.name, limits.name_characters_max)


def account_constraint(field: str, party: Party) -> Refusal | None:
    """BSB: six ASCII digits; account: one to nine."""
    if party.pay_id is not None:
        return pay_id_constraint(party.pay_id_type or "", party.pay_id)
    bsb, account = party.bsb or "", party.account or ""
    if not (len(bsb) == 6 and ascii_digits(bsb)):
        return refuse(NPP_CONSTRAINT, field=f"{field} BSB", problem="it is not six digits")
    if not (len(account) <= 9 and ascii_digits(account)):
        return refuse(
            NPP_CONSTRAINT, field=f"{field} account", problem="it is not one to nine digits"
        )
    return None


def pay_id_constraint(pay_id_type: str, pay_id: str) -> Refusal | None:
    """TELI `+61-412345678`, EMAL lower case up to 256, AUBN 9 or 11 digits, ORGN text."""
    problem = text_problem(pay_id, PAY_ID_CHARACTERS_MAX)
    if problem is not None:
        return refuse(NPP_CONSTRAINT, field="PayID", problem=f"it {problem}")
    match pay_id_type:
        case "TELI":
            good = _TELI.fullmatch(pay_id) is not None
        case "EMAL":
            good = _EMAL.fullmatch(pay_id) is not None and pay_id == pay_id.lower()
        case "AUBN":
            good = _AUBN.fullmatch(pay_id) is not None
        case "ORGN":
            good = bool(pay_id.strip())
        case _:
            return refuse(
                NPP_CONSTRAINT, field="PayID type", problem="it is not TELI, EMAL, AUBN or ORGN"
            )
    if good:
        return None
    return refuse(NPP_CONSTRAINT, field="PayID", problem=f"it is no {pay_id_type}")


def is_uetr(value: str) -> bool:
    return _UETR.fullmatch(value) is not None
