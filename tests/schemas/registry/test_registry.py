"""One contract for every schema registry, run over the in-process one and a real one."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from core.header import InputHeader
from core.payment.commands import TimerDue
from core.values import PaymentIntentId
from schemas import catalogue, definitions
from schemas.errors import IdsChanged, RegistryDown, Undecodable
from schemas.registry.client import HttpRegistry, Incompatible, Registry, StaticRegistry
from schemas.registry.setup import NotRegistered, Options, look_up_all, open_codec, register_all

TOPICS = catalogue.load()
TIMERS = "npp.payment.timers.v1"
DUE = TimerDue(
    header=InputHeader(payment_intent_id=PaymentIntentId("pi_pdkz22ub6ujnprx6nas575vbxy")),
    kind=cast(Any, "ack"),
    deadline=1_790_000_000_000,
)
AT_ONCE, ROUNDS = 6, 10
OPTIONAL = {"name": "note", "type": ["null", "string"], "default": None}


@pytest.fixture(params=["in the process", pytest.param("real", marks=pytest.mark.broker)])
def any_registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "real":
        yield HttpRegistry(request.getfixturevalue("registry"))
    else:
        yield StaticRegistry()


def a_record(*more: Any) -> Any:
    """A schema that no other test uses."""
    name = f"R{uuid.uuid4().hex}"
    fields = [{"name": "id", "type": "string"}, *more]
    return {"type": "record", "name": name, "namespace": "test", "fields": fields}


def a_subject() -> str:
    return f"topic-{uuid.uuid4().hex}"


def test_the_same_schema_keeps_its_id_under_every_subject(any_registry: Registry) -> None:
    schema, where = a_record(), a_subject()
    number = any_registry.register(where, schema)
    assert any_registry.register(where, schema) == number
    assert any_registry.register(a_subject(), schema) == number
    assert any_registry.register(where, a_record(OPTIONAL)) != number


def test_a_schema_is_found_by_id_and_by_subject(any_registry: Registry) -> None:
    schema, where = a_record(OPTIONAL), a_subject()
    assert any_registry.lookup(where, schema) is None
    number = any_registry.register(where, schema)
    assert any_registry.by_id(number) == schema
    assert any_registry.lookup(where, schema) == number
    assert any_registry.lookup(where, a_record()) is None


def test_an_unregistered_schema_is_not_found(any_registry: Registry) -> None:
    for schema_id in (0, 7_654_321, 2**31 - 1, 2**31, 2**32 - 1):
        assert any_registry.by_id(schema_id) is None
    assert any_registry.by_guid(uuid.uuid4().bytes) is None


@pytest.mark.parametrize("level", ["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"])
def test_a_subject_refuses_an_incompatible_schema(any_registry: Registry, level: str) -> None:
    where, first = a_subject(), a_record({"name": "amount", "type": "long"})
    any_registry.register(where, first)
    any_registry.set_compatibility(where, level)
    wider = {**first, "fields": [*first["fields"], OPTIONAL]}
    strict = {**first, "fields": [*first["fields"], {"name": "n", "type": "string"}]}
    less = {**first, "fields": first["fields"][:1]}

    assert any_registry.compatible(where, wider)
    assert not any_registry.compatible(where, strict)
    assert any_registry.compatible(where, less) == (level == "BACKWARD_TRANSITIVE")
    any_registry.register(where, wider)
    with pytest.raises(Incompatible):
        any_registry.register(where, strict)


def test_the_level_can_be_set_before_the_first_schema(any_registry: Registry) -> None:
    where, first = a_subject(), a_record()
    any_registry.set_compatibility(where, "FULL_TRANSITIVE")
    any_registry.register(where, first)
    strict = {**first, "fields": [*first["fields"], {"name": "n", "type": "string"}]}
    with pytest.raises(Incompatible):
        any_registry.register(where, strict)


def test_registering_twice_gives_the_same_ids_which_can_be_looked_up(
    any_registry: Registry,
) -> None:
    first = register_all(any_registry, TOPICS)
    again = register_all(any_registry, TOPICS)
    assert first.entries == again.entries == look_up_all(any_registry, TOPICS).entries
    assert len(first.fingerprints()) == len(catalogue.RECORD_TYPES)


def test_registering_one_schema_at_the_same_time_gives_everybody_its_id(
    any_registry: Registry,
) -> None:
    """Two processes that start together, or one whose first request was slow and is sent again: a
    real registry answers one of them that the schema is there already.
    """
    for _ in range(ROUNDS):
        schema, where, together = a_record(), a_subject(), threading.Barrier(AT_ONCE)

        def register(schema: Any = schema, where: str = where, gate: Any = together) -> int:
            gate.wait(10)
            any_registry.set_compatibility(where, "FULL_TRANSITIVE")
            return any_registry.register(where, schema)

        with ThreadPoolExecutor(AT_ONCE) as several:
            ids = [each.result() for each in [several.submit(register) for _ in range(AT_ONCE)]]
        assert ids == [any_registry.lookup(where, schema)] * AT_ONCE


def test_a_codec_over_any_registry_reads_what_it_wrote(
    any_registry: Registry, tmp_path: Path
) -> None:
    codec = open_codec(any_registry, TOPICS, tmp_path / "ids.lock", Options(lambda: 0.0))
    value = codec.encode(TIMERS, DUE)
    assert codec.decode(TIMERS, value) == DUE
    again = open_codec(
        any_registry, TOPICS, tmp_path / "ids.lock", Options(lambda: 0.0, register=False)
    )
    assert again.encode(TIMERS, DUE) == value


def test_schemas_are_registered_in_the_order_of_the_topics_file() -> None:
    entries = register_all(StaticRegistry(), TOPICS).entries
    topics = list(dict.fromkeys(entry.topic for entry in entries))
    assert topics == [topic.name for topic in TOPICS.topics if topic.record_names()]
    fresh = list(dict.fromkeys(entry.schema_id for entry in entries))
    assert fresh == list(range(1, len(fresh) + 1))


def test_a_process_without_the_right_to_register_reports_what_is_missing() -> None:
    registry = StaticRegistry()
    with pytest.raises(NotRegistered, match=r"npp\.resolve\.decisions\.v1-au\.npp"):
        open_codec(registry, TOPICS, None, Options(lambda: 0.0, register=False))
    assert registry.by_id(1) is None


def test_an_unreachable_or_silent_registry_is_down() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        registry = HttpRegistry(url, timeout_seconds=0.2, tries=1)
        with pytest.raises(RegistryDown):
            registry.by_id(1)
    with pytest.raises(RegistryDown):
        registry.by_id(1)
    with pytest.raises(RegistryDown):
        open_codec(registry, TOPICS, None, Options(lambda: 0.0))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"schema": "\xe4"}', RegistryDown),
        (b"[" * 60_000, RegistryDown),
        (b"no JSON", RegistryDown),
        (b"[]", RegistryDown),
        (b'{"id": 1}', RegistryDown),
        (json.dumps({"schema": "[" * 60_000}).encode(), Undecodable),
        (json.dumps({"schema": '{"type": "record", "type": "enum"}'}).encode(), Undecodable),
    ],
)
def test_an_unreadable_answer_of_the_registry_is_no_crash(
    body: bytes, error: type[Exception]
) -> None:
    """An unreadable answer is retried; an unreadable schema is final."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        registry = HttpRegistry(f"http://127.0.0.1:{server.server_address[1]}", tries=1)
        with pytest.raises(error):
            registry.by_id(1)
    finally:
        server.shutdown()
        server.server_close()


# --- ids.lock ------------------------------------------------------------------------------------


def numbered_from(start: int) -> StaticRegistry:
    """A registry with other schemas registered first."""
    registry = StaticRegistry()
    for number in range(start - 1):
        registry.register(f"other-{number}", a_record())
    return registry


def opened(registry: Registry, lock: Path) -> None:
    open_codec(registry, TOPICS, lock, Options(lambda: 0.0))


def test_the_lock_is_written_once_and_the_same_registry_passes(tmp_path: Path) -> None:
    lock = tmp_path / "data" / "ids.lock"
    opened(StaticRegistry(), lock)
    written = lock.read_text()
    assert '"fingerprint"' in written
    assert "npp.payment.events.v1-au.npp.orchestrator.v1.PaymentSettled" in written
    opened(StaticRegistry(), lock)
    assert lock.read_text() == written


@pytest.mark.parametrize("start", [2, 5, 1_000])
def test_a_registry_with_other_numbers_stops_the_start_and_keeps_the_lock(
    tmp_path: Path, start: int
) -> None:
    lock = tmp_path / "ids.lock"
    opened(StaticRegistry(), lock)
    written = lock.read_text()
    with pytest.raises(IdsChanged, match=r"schema id \d+ of .* is now"):
        opened(numbered_from(start), lock)
    assert lock.read_text() == written


class Counted(StaticRegistry):
    """Counts the requests by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups, self.gets = 0, 0

    def lookup(self, subject: str, schema: Any) -> int | None:
        self.lookups += 1
        return super().lookup(subject, schema)

    def by_id(self, schema_id: int) -> Any:
        self.gets += 1
        return super().by_id(schema_id)


def test_a_start_with_a_complete_lock_makes_one_request_per_id_and_no_look_ups(
    tmp_path: Path,
) -> None:
    lock, registry = tmp_path / "ids.lock", Counted()
    opened(registry, lock)
    registry.lookups = registry.gets = 0
    codec = open_codec(registry, TOPICS, lock, Options(lambda: 0.0, register=False))
    assert (registry.lookups, registry.gets) == (0, len(catalogue.RECORD_TYPES))
    assert codec.decode(TIMERS, codec.encode(TIMERS, DUE)) == DUE


@pytest.mark.parametrize("start", [2, 5, 1_000])
def test_other_numbers_also_stop_a_start_without_the_right_to_register(
    tmp_path: Path, start: int
) -> None:
    lock = tmp_path / "ids.lock"
    opened(StaticRegistry(), lock)
    other = numbered_from(start)
    register_all(other, TOPICS)
    with pytest.raises(IdsChanged, match=r"schema id \d+ of .* is now"):
        open_codec(other, TOPICS, lock, Options(lambda: 0.0, register=False))


def test_an_empty_registry_with_a_full_lock_reports_what_is_missing(tmp_path: Path) -> None:
    lock = tmp_path / "ids.lock"
    opened(StaticRegistry(), lock)
    with pytest.raises(NotRegistered):
        open_codec(StaticRegistry(), TOPICS, lock, Options(lambda: 0.0, register=False))


def test_an_id_of_an_older_schema_must_still_be_that_schema(tmp_path: Path) -> None:
    lock = tmp_path / "ids.lock"
    registry = StaticRegistry()
    opened(registry, lock)
    extinct = a_record()
    number = registry.register("npp.payment.timers.v1-old", extinct)
    content = json.loads(lock.read_text())
    fingerprint = definitions.fingerprint(extinct)
    content["ids"][str(number)] = {"fingerprint": fingerprint, "subjects": ["old"]}
    lock.write_text(json.dumps(content))
    opened(registry, lock)
    with pytest.raises(IdsChanged, match=f"schema id {number} was old and is now another"):
        opened(StaticRegistry(), lock)
    taken = StaticRegistry()
    opened(taken, tmp_path / "other.lock")
    assert taken.register("npp.payment.timers.v1-old", a_record()) == number
    with pytest.raises(IdsChanged, match=f"schema id {number} was old and is now another"):
        opened(taken, lock)


@pytest.mark.parametrize(
    "content",
    [
        b'{"version": 1',
        b'{"version": 1, "ids": {"1": {"fingerprint": "\xe4", "subjects": []}}}',
        '{"version": 1, "ids": {"²": {"fingerprint": "x", "subjects": ["s"]}}}'.encode(),
        b'{"version": 1, "ids": {"1_0": {"fingerprint": "x", "subjects": ["s"]}}}',
        b'{"version": 1, "ids": {}, "ids": {}}',
    ],
)
def test_an_unreadable_lock_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """The message has the file's name, whatever is wrong in it."""
    lock = tmp_path / "ids.lock"
    lock.write_bytes(content)
    with pytest.raises(IdsChanged, match="cannot be read"):
        opened(StaticRegistry(), lock)
