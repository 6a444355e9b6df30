"""Published vectors: ids that upstream systems compute, and party details that anyone can seal
(SM-07).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from core.values import (
    Parties,
    Party,
    Sealed,
    attempt_of_external_ref,
    external_ref,
    payment_id_of_external_ref,
    payment_intent_id,
)
from schemas import definitions
from schemas.codec.parties import open_parties, seal
from schemas.codec.shape import shape_of
from tests.schemas.any_record import any_record

VECTORS = definitions.ROOT / "vectors"
IDS: Any = json.loads((VECTORS / "payment_ids.json").read_text(encoding="utf-8"))
PARTIES: Any = json.loads((VECTORS / "parties.json").read_text(encoding="utf-8"))
SEALED = seal(
    Parties(
        debtor=Party(name="Ann", bsb="062000", account="1"),
        creditor=Party(name="Bob", bsb="062000", account="2"),
    )
)


@pytest.mark.parametrize("vector", IDS["vectors"])
def test_an_id_and_a_reference_equal_the_published_vector(vector: Any) -> None:
    payment = payment_intent_id(vector["source"], vector["idempotencyKey"])
    assert payment == vector["paymentIntentId"]
    assert external_ref(payment, vector["attempt"]) == vector["externalRef"]
    for spelling in (vector["externalRef"], vector["externalRef"].lower()):
        assert payment_id_of_external_ref(spelling) == payment
        assert attempt_of_external_ref(spelling) == vector["attempt"]


def test_there_are_at_least_twenty_distinct_id_vectors_some_beyond_ascii() -> None:
    vectors = IDS["vectors"]
    assert len({each["paymentIntentId"] for each in vectors}) == len(vectors) >= 20
    assert sum(not each["idempotencyKey"].isascii() for each in vectors) >= 5
    assert vectors[0]["paymentIntentId"] == "pi_pdkz22ub6ujnprx6nas575vbxy"


@pytest.mark.parametrize("vector", IDS["refused"])
def test_nul_in_source_or_key_gives_no_id(vector: Any) -> None:
    with pytest.raises(ValueError, match="NUL"):
        payment_intent_id(vector["source"], vector["idempotencyKey"])


@pytest.mark.parametrize("vector", PARTIES["vectors"])
def test_party_details_seal_to_the_published_bytes_and_open_again(vector: Any) -> None:
    content = vector["parties"]
    parties = Parties(
        debtor=side(content["debtor"]),
        creditor=side(content["creditor"]),
        remittance=content["remittance"],
    )
    sealed = Sealed(
        scheme=vector["scheme"], key_id=vector["keyId"], bytes=bytes.fromhex(vector["bytesHex"])
    )
    assert seal(parties) == sealed
    assert open_parties(sealed) == parties


def side(content: Any) -> Party:
    return Party(
        name=content["name"],
        bsb=content["bsb"],
        account=content["account"],
        pay_id_type=content["payIdType"],
        pay_id=content["payId"],
    )


def test_parties_version_1_never_changes() -> None:
    assert definitions.released("Parties") == [definitions.current("Parties")]


@seed(5)
@settings(deadline=None, max_examples=200, database=None)
@given(any_record(shape_of(Parties, definitions.current("Parties"))))
def test_any_party_details_open_to_what_was_sealed(parties: Any) -> None:
    assert open_parties(seal(parties)) == parties


@seed(6)
@settings(deadline=None, max_examples=500, database=None)
@given(st.binary(max_size=120))
def test_random_bytes_open_to_parties_or_a_value_error_without_content(content: bytes) -> None:
    try:
        open_parties(Sealed(scheme="avro.1", key_id=None, bytes=content))
    except ValueError as error:
        assert str(error) == "party details that are no Parties record"  # noqa: PT017


@pytest.mark.parametrize(
    "sealed",
    [
        Sealed(scheme="avro.2", key_id=None, bytes=SEALED.bytes),
        Sealed(scheme="avro.1", key_id="key-1", bytes=SEALED.bytes),
        Sealed(scheme="avro.1", key_id=None, bytes=SEALED.bytes + b"\0"),
        Sealed(scheme="avro.1", key_id=None, bytes=SEALED.bytes[:-1]),
    ],
)
def test_only_bytes_sealed_by_avro_1_open(sealed: Sealed) -> None:
    with pytest.raises(ValueError):
        open_parties(sealed)


def test_details_of_any_length_open_so_that_core_can_name_the_field() -> None:
    """Over-long details are refused naming the field, not treated as unreadable."""
    parties = Parties(
        debtor=Party(name="x" * 5_000), creditor=Party(name="Bob"), remittance="r" * 900_000
    )
    assert open_parties(seal(parties)) == parties
