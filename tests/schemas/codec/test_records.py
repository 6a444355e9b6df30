"""Every record type survives the round trip, and both backends write the same bytes (EV-03)."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from schemas.catalogue import RECORD_BY_NAME
from schemas.codec.fastavro_backend import FastavroBackend
from schemas.codec.generated_backend import GeneratedBackend
from schemas.errors import Undecodable
from schemas.registry.setup import static_codec
from tests.schemas.any_record import TOPIC_OF, any_record, shape_by_name

GENERATED = static_codec(backend=GeneratedBackend())
FASTAVRO = static_codec(backend=FastavroBackend())
RELEASE = bool(os.environ.get("NPP_TEST_RELEASE"))
EACH_RECORD_TYPE = pytest.mark.parametrize("name", sorted(RECORD_BY_NAME))
QUIET = settings(
    deadline=None,
    max_examples=200 if RELEASE else 6,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def outcome(codec: Any, topic: str, value: bytes) -> Any:
    """The record, or None if it is undecodable. Any other exception fails the test."""
    try:
        return codec.decode(topic, value)
    except Undecodable:
        return None


@EACH_RECORD_TYPE
def test_a_record_of_every_type_survives_the_round_trip(name: str) -> None:
    topic = TOPIC_OF[name]

    @seed(1)
    @QUIET
    @given(any_record(shape_by_name(name)))
    def holds(record: Any) -> None:
        value = GENERATED.encode(topic, record)
        assert GENERATED.decode(topic, value) == record
        assert FASTAVRO.encode(topic, record) == value
        assert FASTAVRO.decode(topic, value) == record

    holds()


@pytest.mark.slow
@EACH_RECORD_TYPE
def test_damaged_bytes_are_undecodable_or_another_record_and_both_backends_agree(name: str) -> None:
    topic = TOPIC_OF[name]

    @seed(2)
    @QUIET
    @given(any_record(shape_by_name(name)), st.data())
    def holds(record: Any, data: st.DataObject) -> None:
        value = GENERATED.encode(topic, record)
        at = data.draw(st.integers(5, len(value) - 1))
        patch = data.draw(st.binary(min_size=0, max_size=3))
        damaged = value[:at] + patch + value[at + data.draw(st.integers(0, 3)) :]
        assert outcome(GENERATED, topic, damaged) == outcome(FASTAVRO, topic, damaged)

    holds()


@pytest.mark.slow
@EACH_RECORD_TYPE
def test_every_truncation_of_a_record_is_undecodable(name: str) -> None:
    topic = TOPIC_OF[name]

    @seed(3)
    @settings(QUIET, max_examples=3)
    @given(any_record(shape_by_name(name)))
    def holds(record: Any) -> None:
        value = GENERATED.encode(topic, record)
        for length in range(len(value)):
            with pytest.raises(Undecodable):
                GENERATED.decode(topic, value[:length])
        with pytest.raises(Undecodable, match="trailing bytes"):
            GENERATED.decode(topic, value + b"\0")

    holds()


@seed(4)
@settings(QUIET, max_examples=20_000 if RELEASE else 500)
@given(st.sampled_from(sorted(set(TOPIC_OF.values()))), st.integers(0, 90), st.binary(max_size=300))
def test_random_bytes_after_any_schema_id_raise_only_undecodable(
    topic: str, schema_id: int, content: bytes
) -> None:
    value = b"\0" + schema_id.to_bytes(4, "big") + content
    assert outcome(GENERATED, topic, value) == outcome(FASTAVRO, topic, value)
    outcome(GENERATED, topic, content)
