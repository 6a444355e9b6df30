"""The .avsc files match the structs, and every version can read every released one."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import msgspec
import pytest

from core.payment.commands import INPUTS
from core.payment.events import EVENTS
from core.payment.instructions import INSTRUCTIONS
from core.values import Parties
from schemas import catalogue, definitions
from schemas.catalogue import RECORD_BY_NAME, RECORD_TYPES
from schemas.codec.shape import shape_of, unwritten
from schemas.errors import SchemaMismatch
from schemas.registry.compatibility import problems, unreadable

TOPICS = catalogue.load()
STRUCTS: dict[str, type[msgspec.Struct]] = {**RECORD_BY_NAME, "Parties": Parties}
LEVEL = {
    name: str(topic.compatibility)
    for topic in sorted(TOPICS.topics, key=lambda each: str(each.compatibility))
    for name in topic.record_names()
} | {"Parties": "FULL_TRANSITIVE"}


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_struct_and_schema_agree_field_by_field(name: str) -> None:
    shape = shape_of(STRUCTS[name], definitions.current(name))
    assert list(unwritten(shape)) == []


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_fields_are_in_the_structs_order_and_every_optional_field_defaults_to_null(
    name: str,
) -> None:
    check_fields(STRUCTS[name], definitions.current(name))


def check_fields(struct: type[msgspec.Struct], schema: Any) -> None:
    shape = shape_of(struct, schema)
    assert [each.attribute for each in shape.fields] == list(struct.__struct_fields__)
    for field, entry in zip(shape.fields, schema["fields"], strict=True):
        assert field.optional == ("default" in entry and entry["default"] is None)
        assert "enum" not in json.dumps(entry["type"])


def test_there_is_exactly_one_file_for_every_record_type() -> None:
    files = {path.stem for path in definitions.CURRENT.glob("*.avsc")}
    assert files == set(STRUCTS)


def test_every_record_and_every_schema_is_documented() -> None:
    for name in STRUCTS:
        assert definitions.current(name)["doc"].endswith(".")


@pytest.mark.parametrize(("structs", "header"), [
    (INPUTS, "InputHeader"), (EVENTS, "EventHeader"), (INSTRUCTIONS, "InstructionHeader"),
])  # fmt: skip
def test_every_input_event_and_instruction_starts_with_its_header_inlined(
    structs: tuple[type[msgspec.Struct], ...], header: str
) -> None:
    texts = set()
    for struct in structs:
        first = definitions.current(struct.__name__)["fields"][0]
        assert first["name"] == "header"
        assert first["type"]["name"] == header
        texts.add(json.dumps(first["type"]))
    assert len(texts) == 1


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_schema_is_compatible_with_every_released_version(name: str) -> None:
    versions = definitions.released(name)
    assert versions, f"{name} is not in any release"
    assert list(problems(LEVEL[name], definitions.current(name), versions)) == []
    for number, version in enumerate(versions):
        assert list(problems(LEVEL[name], version, versions[:number])) == []


def test_no_released_schema_is_gone() -> None:
    for version in definitions.releases():
        for path in (definitions.RELEASED / version).glob("*.avsc"):
            assert path.stem in STRUCTS


EVENT = definitions.current("PaymentSettled")
NEW_OPTIONAL = {"name": "note", "type": ["null", "string"], "default": None}
NEW_REQUIRED = {"name": "note", "type": "string"}


def edited(edit: Any) -> Any:
    schema = copy.deepcopy(EVENT)
    edit(schema["fields"])
    return schema


@pytest.mark.parametrize(
    ("edit", "backward", "full"),
    [
        (lambda fields: fields.append(NEW_OPTIONAL), True, True),
        (lambda fields: fields.append(NEW_REQUIRED), False, False),
        (lambda fields: fields.pop(), True, True),  # an optional field: old readers use null
        (lambda fields: fields.pop(1), True, False),  # attemptId: old readers need it
        (lambda fields: fields[2].update(name="reference"), False, False),
        (lambda fields: fields[3].update(type="string"), False, False),
        (lambda fields: fields[0]["type"]["fields"].append(NEW_OPTIONAL), True, True),
        (lambda fields: fields[0]["type"]["fields"].append(NEW_REQUIRED), False, False),
        (lambda fields: fields[0]["type"]["fields"][6].update(type="long"), True, False),
        (lambda fields: fields[0]["type"]["fields"][2]["type"].update(size=16), False, False),
        (lambda fields: fields[3].update(type=["null", "long"], default=None), True, False),
        (lambda fields: fields[7].update(type="string", default=""), False, False),
        (lambda fields: fields.insert(1, fields.pop(3)), True, True),  # read by name, in any order
    ],
)
def test_the_offline_check_distinguishes_breaking_old_data_from_breaking_old_readers(
    edit: Any, backward: bool, full: bool
) -> None:
    newer = edited(edit)
    assert (not any(problems("BACKWARD_TRANSITIVE", newer, [EVENT]))) is backward
    assert (not any(problems("FULL_TRANSITIVE", newer, [EVENT]))) is full


def test_no_schema_has_a_type_that_avro_would_round() -> None:
    """Resolution may turn a long into a double; no amount may be affected."""
    for name in STRUCTS:
        words = set(re.findall(r'"(\w+)"', json.dumps(definitions.current(name))))
        assert not {"float", "double"} & words, name


def test_transitive_compatibility_covers_every_older_version() -> None:
    first = edited(lambda fields: fields.pop(1))
    assert not any(unreadable(EVENT, EVENT))
    found = list(problems("BACKWARD_TRANSITIVE", EVENT, [first, EVENT]))
    assert found == [
        (
            "cannot read what was written: "
            "reader_field_missing_default_value at /, /fields/1: attemptId"
        )
    ]


def test_an_invalid_schema_is_named_and_compatible_with_nothing() -> None:
    nameless = edited(lambda fields: fields[3].update(type="NoSuchType"))
    assert "not a schema" in unreadable(nameless, EVENT)[0]
    assert "not a schema" in unreadable(EVENT, nameless)[0]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda fields: fields.append(NEW_OPTIONAL), "note is in the schema, not in the struct"),
        (lambda fields: fields.pop(1), "attemptId is not in the schema"),
        (lambda fields: fields[3].update(type="string"), "amount: .* is written as string"),
        (lambda fields: fields[3].update(type=["null", "long"]), "amount: .* is written as"),
        (lambda fields: fields[7].update(type="string"), "code: .* never null"),
    ],
)
def test_a_difference_between_struct_and_schema_is_named(edit: Any, says: str) -> None:
    with pytest.raises(SchemaMismatch, match=says):
        shape_of(RECORD_BY_NAME["PaymentSettled"], edited(edit))


def test_an_optional_field_that_only_the_struct_has_is_named_too() -> None:
    shape = shape_of(RECORD_BY_NAME["PaymentSettled"], edited(lambda fields: fields.pop()))
    assert list(unwritten(shape)) == [
        "PaymentSettled.assigned_from is in the struct, not in the schema"
    ]


def test_record_types_have_different_names() -> None:
    assert len(RECORD_BY_NAME) == len(RECORD_TYPES)
