"""Schemas by the id in the bytes: shipped ones need no request, others one."""

from __future__ import annotations

import pytest

from core.payment.events import PaymentSettled
from schemas import definitions
from schemas.codec.shape import Json
from schemas.codec.written import ASKED_COUNT_MAX, WrittenSchemas
from schemas.errors import Undecodable
from schemas.registry.client import StaticRegistry

SHIPPED = definitions.all_versions(PaymentSettled.__name__)[-1]
NEWER: Json = {
    "type": "record",
    "name": "PaymentSettled",
    "namespace": "au.npp.orchestrator.v1",
    "fields": [{"name": "ofALaterRelease", "type": "string"}],
}


class CountingRegistry(StaticRegistry):
    """Counts the requests for a schema."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def by_id(self, schema_id: int) -> Json | None:
        self.count += 1
        return super().by_id(schema_id)


def test_a_shipped_schema_needs_no_request() -> None:
    registry = CountingRegistry()
    written = WrittenSchemas({7: definitions.fingerprint(SHIPPED)}, registry)
    assert written.schema(7) == SHIPPED
    assert registry.count == 0


def test_another_schema_is_requested_once() -> None:
    """EP-08: packs can include records written by a newer release."""
    registry = CountingRegistry()
    known = registry.register("topic-value", NEWER)
    written = WrittenSchemas({}, registry)
    assert [written.schema(known) for _ in range(3)] == [NEWER] * 3
    assert registry.count == 1


def test_an_id_pinned_to_other_content_is_refused() -> None:
    registry = CountingRegistry()
    known = registry.register("topic-value", NEWER)
    with pytest.raises(Undecodable):
        WrittenSchemas({known: "00" * 32}, registry).schema(known)


def test_an_unregistered_id_is_refused_until_it_is_registered() -> None:
    registry = CountingRegistry()
    written = WrittenSchemas({}, registry)
    with pytest.raises(Undecodable):
        written.schema(1)
    registry.register("topic-value", NEWER)
    assert written.schema(1) == NEWER


def test_the_number_of_cached_schemas_is_bounded() -> None:
    registry = CountingRegistry()
    written = WrittenSchemas({}, registry)
    for number in range(ASKED_COUNT_MAX + 1):
        known = registry.register("topic-value", {**NEWER, "doc": str(number)})
        written.schema(known)
    assert len(written._requested) <= ASKED_COUNT_MAX
