"""Encoding: only what fits its schema and its topic is written."""

from __future__ import annotations

import msgspec
import pytest

from core.payment.commands import CreatePayment, ExpirePayment
from core.values import Sealed
from schemas.codec.wire import schema_id
from schemas.errors import Unencodable
from schemas.registry.setup import subject
from tests.schemas.codec.inputs import CANCEL, CODEC, COMMANDS, CREATE, NAMESPACE, OPERATORS


@pytest.mark.parametrize(
    "wrong",
    [
        msgspec.structs.replace(CREATE, amount=2**63),
        msgspec.structs.replace(CREATE, amount="1"),
        msgspec.structs.replace(CREATE, currency=None),
        msgspec.structs.replace(CREATE, source="\ud800"),
        msgspec.structs.replace(CREATE, parties=Sealed(scheme="avro.1", key_id=None, bytes="text")),  # type: ignore[arg-type]
        msgspec.structs.replace(CREATE, header=None),
    ],
)
def test_a_record_that_does_not_fit_its_schema_is_not_written(wrong: CreatePayment) -> None:
    with pytest.raises(Unencodable):
        CODEC.encode(COMMANDS, wrong)


def test_a_record_type_is_written_only_to_topics_that_carry_it() -> None:
    with pytest.raises(KeyError):
        CODEC.encode(COMMANDS, CANCEL)
    with pytest.raises(KeyError):
        CODEC.decode("npp.nowhere.v1", b"")


def test_a_replay_encodes_in_the_version_the_recorded_bytes_name() -> None:
    expired = ExpirePayment(header=CREATE.header)
    for topic in (COMMANDS, OPERATORS):
        value = CODEC.encode(topic, expired)
        assert CODEC.encode_as(topic, expired, schema_id(value)) == value


def test_the_same_record_has_one_subject_per_topic() -> None:
    assert (
        subject(COMMANDS, f"{NAMESPACE}.CreatePayment") == f"{COMMANDS}-{NAMESPACE}.CreatePayment"
    )
