"""The maximum length of each text of an input: the table names every text, and `decide` enforces
it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.decider import Refusal
from core.declared import declared
from core.payment import limits
from core.payment.commands import INPUTS, CreatePayment
from core.payment.decide import ORIGINS
from core.values import Parties, Party
from tests.core.payment import dsl as d
from tests.core.payment.case import Case

RULES = Case().rules


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Attribute → type, without None."""
    found = {}
    for name, hint in typing.get_type_hints(struct).items():
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            (hint,) = [each for each in typing.get_args(hint) if each is not type(None)]
        found[name] = getattr(hint, "__supertype__", hint)
    return found


def texts_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for name, hint in fields_of(struct).items():
        if isinstance(hint, type) and issubclass(declared(hint), msgspec.Struct):
            yield from texts_of(hint, f"{prefix}{name}.")
        elif hint is str or typing.get_args(hint)[:1] == (str,):
            yield prefix + name


def made(struct: type[msgspec.Struct], path: str, value: Any) -> Any:
    """An input with `value` at `path` and short values everywhere else."""
    name, _, rest = path.partition(".")
    values: dict[str, Any] = {}
    for attribute, hint in fields_of(struct).items():
        mine = attribute == name
        if isinstance(hint, type) and issubclass(declared(hint), msgspec.Struct):
            values[attribute] = made(hint, rest if mine else "", value)
        elif mine:
            values[attribute] = value
        elif typing.get_args(hint):
            values[attribute] = ()
        else:
            values[attribute] = {str: "x", int: 1, bytes: b"", bool: False}[hint]
    return struct(**values)


EVERY = [(kind, path) for kind in INPUTS for path in limits.TEXTS[kind]]


def most(kind: type[msgspec.Struct], path: str) -> int:
    found = limits.TEXTS[kind][path]
    return found if isinstance(found, int) else getattr(RULES.limits, found)


def decided(command: Any) -> Any:
    origin = ORIGINS.get(type(command), "operator")  # ExpirePayment here is an operator's
    return Case().give(command, origin)


@pytest.mark.parametrize("kind", INPUTS, ids=[kind.__name__ for kind in INPUTS])
def test_every_text_of_every_input_has_a_limit(kind: type[msgspec.Struct]) -> None:
    """Domain §5: whatever can be decoded is answered, so each text has a documented limit."""
    assert set(limits.TEXTS[kind]) == set(texts_of(kind))


@pytest.mark.parametrize(("kind", "path"), EVERY, ids=[f"{k.__name__}.{p}" for k, p in EVERY])
def test_a_text_over_its_limit_is_refused_naming_field_and_limit(
    kind: type[msgspec.Struct], path: str
) -> None:
    """VALIDATION_FAILED names field and limit; a text at the limit is not refused for
    its length.
    """
    limit, name = most(kind, path), limits.wire_name(path)
    listed = path.rpartition(".")[2] in limits.ENTRIES
    for size in (limit + 1, 4_097, 900_000):
        value = "x" * size
        answer = decided(made(kind, path, (value,) if listed else value))
        assert isinstance(answer, Refusal)
        assert (answer.code, answer.rule) == ("VALIDATION_FAILED", "FIELD_INVALID")
        assert answer.sentence.startswith(f"{name} ")
        assert answer.sentence.endswith(f"is longer than {limit} characters.")

    good = "x" * limit
    assert limits.over_limit(made(kind, path, (good,) if listed else good), RULES.limits) is None


@pytest.mark.parametrize(("kind", "path"), EVERY, ids=[f"{k.__name__}.{p}" for k, p in EVERY])
def test_no_text_of_an_input_contains_nul(kind: type[msgspec.Struct], path: str) -> None:
    """Domain §7: no NUL in any text."""
    listed = path.rpartition(".")[2] in limits.ENTRIES
    answer = decided(made(kind, path, ("a\0",) if listed else "a\0"))
    assert isinstance(answer, Refusal)
    assert answer.rule == "FIELD_INVALID"
    assert answer.sentence.endswith("holds NUL.")


@pytest.mark.parametrize(("name", "limit"), sorted(limits.ENTRIES.items()))
def test_a_list_has_a_limit_of_entries(name: str, limit: int) -> None:
    """A list that is too long is refused with its name and limit."""
    for kind, path in EVERY:
        if path.rpartition(".")[2] == name:
            answer = decided(made(kind, path, ("x",) * (limit + 1)))
            assert answer == r.refuse(
                r.FIELD_INVALID,
                field=limits.wire_name(path),
                problem=f"has more than {limit} entries",
            )
            assert limits.over_limit(made(kind, path, ("x",) * limit), RULES.limits) is None


LONG_PARTIES = [
    (
        Parties(
            debtor=Party(name="n" * 141, bsb="062000", account="1"), creditor=d.PARTIES.creditor
        ),
        r.FIELD_INVALID,
        "140",
    ),
    (
        Parties(
            debtor=d.PARTIES.debtor, creditor=Party(name="n" * 5_000, bsb="062000", account="1")
        ),
        r.FIELD_INVALID,
        "140",
    ),
    (
        Parties(debtor=d.PARTIES.debtor, creditor=d.PARTIES.creditor, remittance="r" * 281),
        r.FIELD_INVALID,
        "280",
    ),
    (
        Parties(debtor=d.PARTIES.debtor, creditor=d.PARTIES.creditor, remittance="r" * 200_000),
        r.FIELD_INVALID,
        "280",
    ),
    (
        Parties(
            debtor=d.PARTIES.debtor,
            creditor=Party(name="B", bsb=None, account=None, pay_id_type="ORGN", pay_id="o" * 257),
        ),
        r.NPP_CONSTRAINT,
        "256",
    ),
    (
        Parties(
            debtor=Party(name="A", bsb="062000", account="1" * 10), creditor=d.PARTIES.creditor
        ),
        r.NPP_CONSTRAINT,
        "nine",
    ),
]


@pytest.mark.parametrize(("parties", "rule", "limit"), LONG_PARTIES)
def test_party_details_over_a_limit_are_refused_naming_field_and_limit(
    parties: Parties, rule: r.Rule, limit: str
) -> None:
    """A bad BSB, account or PayID stays INVARIANT_VIOLATION (domain §5)."""
    case = Case().when(d.create(parties=d.sealed(parties))).refuses(rule)
    assert isinstance(case.decision, Refusal)
    assert limit in case.decision.sentence


def test_a_key_that_is_too_long_is_answered_before_its_id_is_computed() -> None:
    """The refusal names the key's own limit, not a different id."""
    command = made(CreatePayment, "idempotency_key", "k" * 4_097)
    answer = decided(command)
    assert isinstance(answer, Refusal)
    assert answer.sentence == "idempotencyKey is longer than 128 characters."


def test_a_command_id_that_is_too_long_is_not_in_the_cause() -> None:
    """The refusal is itself bounded, and a truncated id would be another id."""
    header = d.head()
    long = msgspec.structs.replace(header, command_id="c" * 129)
    assert limits.command_id_of(long) is None
    assert limits.command_id_of(msgspec.structs.replace(header, command_id="c" * 128)) == "c" * 128


def test_references_that_end_in_digits_of_another_script_are_refused() -> None:
    """`²` passes isdigit() and fails int(), so decide raised."""
    case = Case().given(*d.SENT)
    for digit in ("²", "٣", "３"):
        reference = d.REF[:-1] + digit
        report = msgspec.structs.replace(d.rail("ACCEPTED"), external_ref=reference)
        answer = msgspec.structs.replace(d.held(), funds_ref=f"{reference}H01")
        number = msgspec.structs.replace(d.held(), funds_ref=f"{d.REF}H0{digit}")
        retry = msgspec.structs.replace(d.retry(), attempt_id=f"att_00{digit}")
        for command in (report, answer, number, retry):
            refused = case.give(command)
            assert isinstance(refused, Refusal)
            assert refused.code == "VALIDATION_FAILED"
