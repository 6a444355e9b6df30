"""Schemas that we do not ship: used if they are compatible, requested once (OP-34)."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec.avro_binary import zigzag
from schemas.codec.wire import prefix
from schemas.errors import RegistryDown, Undecodable
from schemas.registry.unknown_schemas import REFUSAL_KEPT_SECONDS
from tests.schemas.codec.inputs import COMMANDS, CREATE, NAMESPACE, Set, changed, fields_of


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}, "without bytes"),
        (
            {"fields": [{"name": "a", "type": {"type": "array", "items":
             {"type": "record", "name": "Empty", "fields": []}}}]},
            "without bytes",
        ),
        ({"fields": [{"name": "a", "type": ["null", "CreatePayment"]}]}, "recursive"),
        ({"fields": [{"name": "a", "type": f"{NAMESPACE}.CreatePayment"}]}, "recursive"),
        ({"fields": [{"name": "a", "type": []}]}, "empty union"),
        ({"fields": [{"name": "a", "type": "decimal"}]}, "unknown type"),
        ({"fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": "²"}}]}, "none"),
        ({"fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": -1}}]}, "none"),
        ({"fields": [{"name": "a", "type": {"type": "fixed", "size": 1}}]}, "none"),
        ({"fields": [{"name": "a"}]}, "none"),
        ({"fields": ["a"]}, "none"),
        ({"fields": None}, "none"),
        ({"fields": []}, "cannot be read as ours"),
        ({"name": "CreatePaymentX"}, "does not belong"),
        ({"namespace": "else.where"}, "does not belong"),
        ({"name": "CancelPayment"}, "does not belong"),
    ],
)  # fmt: skip
def test_an_unsafe_unknown_schema_is_refused(change: Any, reason: str) -> None:
    together = Set()
    number = together.foreign(changed("CreatePayment", **change))
    with pytest.raises(Undecodable, match=reason):
        together.codec.decode(COMMANDS, prefix(number) + zigzag(50_000_000))


def test_an_extremely_nested_schema_is_refused() -> None:
    deep: Any = "string"
    for level in range(60):
        deep = {"type": "record", "name": f"R{level}", "fields": [{"name": "f", "type": deep}]}
    together = Set()
    extra = {"name": "deep", "type": deep}
    number = together.foreign(changed("CreatePayment", fields=[*fields_of("CreatePayment"), extra]))
    with pytest.raises(Undecodable, match="nested too deep"):
        together.codec.decode(COMMANDS, prefix(number) + b"\0")


def test_a_schema_nested_beyond_the_interpreters_limit_is_refused() -> None:
    """A RecursionError does not end the process."""
    deep: Any = "string"
    for _ in range(5_000):
        deep = [deep]
    together = Set()
    together.registry.answers = deep
    with pytest.raises(Undecodable, match="nested too deep"):
        together.codec.decode(COMMANDS, prefix(4_711) + b"\0")


def test_a_newer_compatible_schema_is_read_as_ours_and_requested_once() -> None:
    together = Set()
    extra = {"name": "channel", "type": ["null", "string"], "default": None}
    newer = changed("CreatePayment", fields=[*fields_of("CreatePayment"), extra])
    number = together.foreign(newer)
    value = prefix(number) + together.codec.encode(COMMANDS, CREATE)[5:] + b"\x02\x06web"
    for _ in range(3):
        assert together.codec.decode(COMMANDS, value) == CREATE
    assert together.registry.requested == 1
    with pytest.raises(Undecodable, match="truncated"):
        together.codec.decode(COMMANDS, value[:-1])


def test_an_older_schema_without_an_optional_field_is_read_with_its_default() -> None:
    together = Set()
    older = changed("CreatePayment", fields=fields_of("CreatePayment")[:-1])
    number = together.foreign(older)
    value = prefix(number) + together.codec.encode(COMMANDS, CREATE)[5:-1]
    assert together.codec.decode(COMMANDS, value) == CREATE


def test_an_unknown_id_is_requested_once_a_minute_and_found_once_registered() -> None:
    together = Set()
    extra = {"name": "channel", "type": ["null", "string"], "default": None}
    newer = changed("CreatePayment", fields=[*fields_of("CreatePayment"), extra])
    number = together.foreign(changed("CreatePayment", name="Unrelated")) + 1
    value = prefix(number) + together.codec.encode(COMMANDS, CREATE)[5:] + b"\0"
    for _ in range(5):
        with pytest.raises(Undecodable, match="unknown schema id"):
            together.codec.decode(COMMANDS, value)
    assert together.registry.requested == 1

    assert together.foreign(newer) == number
    together.now += REFUSAL_KEPT_SECONDS + 1
    assert together.codec.decode(COMMANDS, value) == CREATE
    assert together.registry.requested == 2


def test_an_unavailable_registry_blocks_unknown_schemas_and_lets_known_ones_pass() -> None:
    together = Set()
    together.registry.down = True
    value = prefix(4_711) + b"x"
    for _ in range(2):
        with pytest.raises(RegistryDown):
            together.codec.decode(COMMANDS, value)
    known = together.codec.encode(COMMANDS, CREATE)
    assert together.codec.decode(COMMANDS, known) == CREATE

    together.registry.down = False
    with pytest.raises(Undecodable, match="unknown schema id"):
        together.codec.decode(COMMANDS, value)
