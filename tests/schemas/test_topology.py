"""Topic names in code and in topics.yaml are the same, and so is the order of decision."""

from __future__ import annotations

import pytest

from app.config.settings import load
from app.topic_specs import quota_lines
from control import quarantine
from engine.clients.assigned_reader import READING
from engine.clients.producing import MESSAGE_BYTES_MAX, producing
from processors.payments import topics as payments
from schemas import catalogue, topology
from tests.rooms import ROOT

NAMES = {value for value in vars(topology).values() if str(value).startswith("npp.")}


def test_the_codes_topics_and_the_declared_ones_are_the_same() -> None:
    """EV-08: topics.yaml is the single source."""
    assert {topic.name for topic in catalogue.load().topics} == NAMES


def test_the_inputs_are_in_the_order_in_which_a_batch_decides_them() -> None:
    """Domain §4: decisions, operator commands, reports, results, notified, timers, commands."""
    assert tuple(topic.name for topic in catalogue.load().inputs()) == topology.INPUTS


def test_only_command_topics_carry_sources() -> None:
    """SEC-06: a source is bound to exactly one topic."""
    inputs = catalogue.load().inputs()
    with_sources = [topic.name for topic in inputs if topic.sources]
    sources = [source for topic in inputs for source in topic.sources]

    upstream = [name for name in topology.INPUTS if topology.ORIGINS[name] == "upstream"]
    assert with_sources == upstream
    assert len(sources) == len(set(sources))


def test_each_instruction_goes_to_a_topic_that_carries_it() -> None:
    for record, topic in payments.INSTRUCTION_TOPICS.items():
        assert record in catalogue.load().topic(topic).record_types()


def test_all_producers_have_one_size_limit_above_every_topics() -> None:
    """Otherwise the transaction could write what no publisher could put back. With one limit, from
    topics.yaml, only the topic decides whether a record is refused.
    """
    topics = catalogue.load()
    options = load({"NPP_BOOTSTRAP_SERVERS": "localhost:1", "NPP_PROFILE": "test"}).connection()

    assert options["message.max.bytes"] == str(topics.producer_bytes_max)
    assert producing(options)["message.max.bytes"] == str(topics.producer_bytes_max)
    assert topics.producer_bytes_max == MESSAGE_BYTES_MAX, "where a connection does not name it"
    assert all(topics.record_bytes_max(t.name) < MESSAGE_BYTES_MAX for t in topics.topics)
    assert int(str(READING["fetch.max.bytes"])) >= MESSAGE_BYTES_MAX, (
        "else the client refuses to start"
    )


def test_a_topic_maximum_above_the_producers_limit_is_refused() -> None:
    """The one limit stays above every topic's, also when a topic's is raised."""
    text = catalogue.TOPICS_YAML.read_text(encoding="utf-8")
    raised = text.replace('max.message.bytes: "2097152"', 'max.message.bytes: "33554432"')
    assert raised != text
    with pytest.raises(catalogue.CatalogueError, match=topology.QUARANTINE):
        catalogue.parse(raised)


def test_a_whole_copy_and_the_largest_input_fit_the_quarantine_topic() -> None:
    """A copy's bound is the topic's, and whatever a topic accepts uncompressed is copied."""
    topics = catalogue.load()
    most = topics.record_bytes_max(topology.QUARANTINE)
    own_headers = 10 * 100 + 4 * quarantine.DETAIL_CHARACTERS_MAX

    assert most >= quarantine.COPY_BYTES_MAX + 100, "a batch of one record has 61 bytes beside it"
    inputs = (t.name for t in topics.topics if t.role in ("input", "output"))
    largest = max(topics.record_bytes_max(name) for name in inputs if name != topology.QUARANTINE)
    assert largest + own_headers <= quarantine.COPY_BYTES_MAX


def test_every_upstream_system_has_a_quota_and_the_shipped_list_matches() -> None:
    """Upstream writes are limited as far as Kafka can. `npp topics quotas > deploy/quotas.txt`
    writes the list again.
    """
    topics = catalogue.load()
    upstream = {t.producers[0] for t in topics.inputs() if t.sources and t.producers[0] != "api"}
    limited = {n for n, p in topics.principals.items() if p.producer_bytes_per_second is not None}

    assert upstream <= limited
    shipped = ROOT / "deploy" / "quotas.txt"
    assert shipped.read_text(encoding="utf-8").splitlines() == quota_lines(topics)
