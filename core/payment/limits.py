"""The maximum length of each text of an input: one table, checked first (domain §5).

A record that can be decoded gets an outcome: a text over its limit is VALIDATION_FAILED naming
field and limit. BSB, account number and PayID inside `parties` have formats instead
(core.payment.operator.checks).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import msgspec

from core.decider import Refusal
from core.declared import camel_case
from core.header import InputHeader
from core.payment import commands as c
from core.payment.operator.checks import ID_CHARACTERS_MAX, ROLES_MAX, text_problem
from core.refusals import FIELD_INVALID, refuse
from core.rules import Limits
from core.values import EXTERNAL_REF_LENGTH, FUNDS_REF_LENGTH, PAYMENT_ID_LENGTH

WORD_CHARACTERS_MAX: Final = 64  # of a value of a closed set
CODE_CHARACTERS_MAX: Final = 35  # ISO 20022 Max35Text, which proprietary reason codes have too
OUTSIDE_ID_CHARACTERS_MAX: Final = 140  # of an id that the rail or Deposits Core gives
TRACEPARENT_CHARACTERS_MAX: Final = 128  # W3C Trace Context, version 00, has 55
RULES_EVALUATED_MAX: Final = 64  # names in one answer of Resolve
UETR_CHARACTERS_MAX: Final = 36

_ID: Final = ID_CHARACTERS_MAX
_OUTSIDE: Final = OUTSIDE_ID_CHARACTERS_MAX
_WORD: Final = WORD_CHARACTERS_MAX
_TEXT: Final = "free_text_characters_max"

# Attribute path → characters, or the name of the rule set's limit.
Table = dict[str, int | str]

_HEADER: Final[Table] = {
    "header.payment_intent_id": PAYMENT_ID_LENGTH,
    "header.command_id": _ID,
    "header.traceparent": TRACEPARENT_CHARACTERS_MAX,
}
_OPERATOR: Final[Table] = {
    **_HEADER,
    "operator.operator_id": _ID,
    "operator.roles": _ID,
    "operator.token_id": _ID,
    "operator.approval_id": _ID,
}

TEXTS: Final[dict[type, Table]] = {
    c.CreatePayment: {
        **_HEADER,
        "source": "source_characters_max",
        "idempotency_key": "idempotency_key_characters_max",
        "currency": _WORD,
        "parties.scheme": _WORD,
        "parties.key_id": _ID,
        "end_to_end_id": "end_to_end_id_characters_max",
        "service": _WORD,
        "uetr": UETR_CHARACTERS_MAX,
        "customer_id": _ID,
    },
    c.ExpirePayment: {**_OPERATOR, "reason": _TEXT},
    c.RequestApproval: {
        **_OPERATOR,
        "action": _WORD,
        "reason": _TEXT,
        "failure_reason": _WORD,
        "conflict_id": _ID,
        "verdict": _WORD,
    },
    c.RetryPayment: {**_OPERATOR, "attempt_id": _WORD, "reason": _TEXT},
    c.CancelPayment: {**_OPERATOR, "reason": _TEXT, "customer_id": _ID},
    c.MarkPaymentFailed: {**_OPERATOR, "reason": _WORD, "details": _TEXT},
    c.ResolveReconciliation: {
        **_OPERATOR,
        "conflict_id": _ID,
        "verdict": _WORD,
        "details": _TEXT,
    },
    c.ReleaseFunds: {**_OPERATOR, "reason": _TEXT},
    c.ReverseCapture: {**_OPERATOR, "reason": _TEXT},
    c.DebitFunds: {**_OPERATOR, "reason": _TEXT},
    c.RepeatFundsRequest: {**_OPERATOR, "operation": _WORD, "reason": _TEXT},
    c.DecideApproval: {**_OPERATOR, "approval_id": _ID, "verdict": _WORD, "reason": _TEXT},
    c.ResumeProcessing: {**_OPERATOR, "requested_by": _ID, "reason": _TEXT},
    c.RailReport: {
        **_HEADER,
        "external_ref": EXTERNAL_REF_LENGTH,
        "kind": _WORD,
        "adapter": _ID,
        "code": CODE_CHARACTERS_MAX,
        "currency": _WORD,
        "rail_message_id": _OUTSIDE,
        "transaction_id": "transaction_id_characters_max",
        "details": _TEXT,
        "technical_result": _ID,
        "assigned_from.topic": 249,  # the longest name that Kafka allows
        "assigned_from.requested_by": _ID,
        "assigned_from.confirmed_by": _ID,
    },
    c.DepositsResult: {
        **_HEADER,
        "funds_ref": FUNDS_REF_LENGTH,
        "operation": _WORD,
        "result": _WORD,
        "hold_ref": _OUTSIDE,
        "ledger_ref": _OUTSIDE,
        "code": _OUTSIDE,
        "details": _TEXT,
    },
    c.PolicyVerdict: {
        **_HEADER,
        "policy_ref": _ID,
        "verdict": _WORD,
        "phase": _WORD,
        "rules_evaluated": _ID,
        "policy_version": _ID,
        "failure_reason": _WORD,
    },
    c.ApprovalDecision: {
        **_HEADER,
        "approval_id": _ID,
        "verdict": _WORD,
        "decided_by": _ID,
        "rules_evaluated": _ID,
        "policy_version": _ID,
        "reason": _TEXT,
    },
    c.NotificationResult: {
        **_HEADER,
        "notification_id": _ID,
        "kind": _WORD,
        "result": _WORD,
        "channel": _ID,
    },
    c.TimerDue: {**_HEADER, "kind": _WORD},
}
# How many entries a list of texts may have, by its attribute.
ENTRIES: Final[dict[str, int]] = {"roles": ROLES_MAX, "rules_evaluated": RULES_EVALUATED_MAX}


class _Field(msgspec.Struct, frozen=True, kw_only=True):
    attribute: str
    name: str
    most: int | str


def wire_name(path: str) -> str:
    """The field's own name on the wire: `header.command_id` is `commandId`."""
    return camel_case(path.rpartition(".")[2])


def _grouped(table: Table) -> tuple[tuple[str, tuple[_Field, ...]], ...]:
    """The table's fields by the part of the input that holds them; "" is the input itself."""
    groups: dict[str, list[_Field]] = {}
    for path, most in table.items():
        holder, _, attribute = path.rpartition(".")
        groups.setdefault(holder, []).append(
            _Field(attribute=attribute, name=wire_name(path), most=most)
        )
    return tuple((holder, tuple(fields)) for holder, fields in groups.items())


_GROUPED: Final = {kind: _grouped(table) for kind, table in TEXTS.items()}
# Optional parts: checked only on the slow path.
_OPTIONAL: Final = frozenset({"operator", "assigned_from"})


class _Quick(msgspec.Struct, frozen=True, kw_only=True):
    """All plain texts of an input in one call, and the maximum length of each by `limits`."""

    texts: Callable[[Any], tuple[str | None, ...]]
    most: tuple[int, ...]
    lists: tuple[tuple[str, int, int], ...]  # attribute, how many entries, characters of each
    rest: tuple[str, ...]  # parts that are checked only if present
    limits: Limits


def _quick(kind: type, limits: Limits) -> _Quick:
    plain: dict[str, int] = {}
    lists: list[tuple[str, int, int]] = []
    rest: set[str] = set()
    for path, named in TEXTS[kind].items():
        holder, _, attribute = path.rpartition(".")
        most = named if isinstance(named, int) else getattr(limits, named)
        if holder in _OPTIONAL:
            rest.add(holder)
        elif attribute in ENTRIES:
            lists.append((attribute, ENTRIES[attribute], most))
        else:
            plain[path] = most
    return _Quick(
        texts=operator.attrgetter(*plain),
        most=tuple(plain.values()),
        lists=tuple(lists),
        rest=tuple(sorted(rest)),
        limits=limits,
    )


_READY: Final[dict[type, _Quick]] = {}


def over_limit(command: c.Input, limits: Limits) -> Refusal | None:
    """The refusal that names the first text that is too long, holds NUL or a lone surrogate.

    Nearly every input is short ASCII, which one pass confirms; only others are checked field by
    field.
    """
    kind = type(command)
    quick = _READY.get(kind)
    if quick is None or quick.limits is not limits:
        quick = _READY[kind] = _quick(kind, limits)
    texts, most = quick.texts(command), quick.most
    for index in range(len(most)):
        text = texts[index]
        if text is not None and len(text) > most[index]:
            return _first_over_limit(command, limits)
    together = "".join(filter(None, texts))
    for attribute, entries_max, entry_max in quick.lists:
        entries: tuple[str, ...] = getattr(command, attribute)
        if len(entries) > entries_max:
            return _first_over_limit(command, limits)
        for entry in entries:
            if len(entry) > entry_max:
                return _first_over_limit(command, limits)
            together += entry
    if not together.isascii() or "\0" in together:
        return _first_over_limit(command, limits)
    for part in quick.rest:
        if getattr(command, part):
            return _first_over_limit(command, limits)
    return None


def _first_over_limit(command: c.Input, limits: Limits) -> Refusal | None:
    for holder, fields in _GROUPED[type(command)]:
        part = command if not holder else getattr(command, holder)
        if part is None:
            continue
        for field in fields:
            value = getattr(part, field.attribute)
            if value is None:
                continue
            most = field.most if isinstance(field.most, int) else getattr(limits, field.most)
            if type(value) is str and len(value) <= most and value.isascii() and "\0" not in value:
                continue  # nearly every text
            problem = _problem(value, field, most)
            if problem is not None:
                return refuse(FIELD_INVALID, field=field.name, problem=problem)
    return None


def _problem(value: Any, field: _Field, most: int) -> str | None:
    if not isinstance(value, tuple):
        return text_problem(value, most)
    entries_max = ENTRIES[field.attribute]
    if len(value) > entries_max:
        return f"has more than {entries_max} entries"
    for each in value:
        problem = text_problem(each, most)
        if problem is not None:
            return f"has an entry that {problem}"
    return None


def command_id_of(header: InputHeader) -> str | None:
    """The command's id for the cause of its result. An id over its limit is not recorded: truncated
    it would be a different id.
    """
    found = header.command_id
    return found if found is not None and len(found) <= ID_CHARACTERS_MAX else None
