"""Topic names in code and in topics.yaml are the same, and so is the order of decision."""

from __future__ import annotations

import pytest

from app.settings import load
from app.topic_specs import quota_lines
from control import quarantine
from engine.clients.producing import MESSAGE_BYTES_MAX, producing
from engine.clients.reader import READING
from processors.payments import topics as payments
from schemas import catalogue, topology
from tests.rooms import ROOT

NAMES = {value for value in vars(topology).values() if str(value).startswith("npp.")}


def test_every_topic_of_the_code_is_declared_and_every_declared_one_is_in_the_code() -> None:
    """EV-08: topics.yaml is the one source."""
    assert {topic.name for topic in catalogue.load().topics} == NAMES


def test_the_inputs_stand_in_the_order_in_which_a_batch_decides_them() -> None:
    """Domain §4: decisions, operator commands, reports, results, notified, timers, commands."""
    assert tuple(topic.name for topic in catalogue.load().inputs()) == topology.INPUTS


def test_only_command_topics_carry_sources() -> None:
    """SEC-06: a source is bound to a topic, and to one topic only."""
    inputs = catalogue.load().inputs()
    with_sources = [topic.name for topic in inputs if topic.sources]
    sources = [source for topic in inputs for source in topic.sources]

    upstream = [name for name in topology.INPUTS if topology.ORIGINS[name] == "upstream"]
    assert with_sources == upstream
    assert len(sources) == len(set(sources))


def test_each_instruction_goes_to_a_topic_that_carries_it() -> None:
    for record, topic in payments.INSTRUCTION_TOPICS.items():
        assert record in catalogue.load().topic(topic).record_types()


def test_one_limit_of_size_for_all_producers_above_every_topics() -> None:
    """The transaction could write what no publisher could put back. One limit, from
    topics.yaml, so that a record's fate is decided by its topic alone."""
    topics = catalogue.load()
    options = load({"NPP_BOOTSTRAP_SERVERS": "localhost:1", "NPP_PROFILE": "test"}).connection()

    assert options["message.max.bytes"] == str(topics.producer_bytes_max)
    assert producing(options)["message.max.bytes"] == str(topics.producer_bytes_max)
    assert topics.producer_bytes_max == MESSAGE_BYTES_MAX, "where a connection does not name it"
    assert all(topics.record_bytes_max(t.name) < MESSAGE_BYTES_MAX for t in topics.topics)
    assert int(str(READING["fetch.max.bytes"])) >= MESSAGE_BYTES_MAX, (
        "else the client refuses to start"
    )


def test_a_topic_that_takes_more_than_a_producer_gives_is_refused() -> None:
    """The one limit stays above every topic's when somebody raises a topic's."""
    text = catalogue.TOPICS_YAML.read_text(encoding="utf-8")
    raised = text.replace('max.message.bytes: "2097152"', 'max.message.bytes: "33554432"')
    assert raised != text
    with pytest.raises(catalogue.CatalogueError, match=topology.QUARANTINE):
        catalogue.parse(raised)


def test_a_whole_copy_fits_the_quarantine_topic_and_so_does_the_largest_input() -> None:
    """A copy's bound is the topic's, and what a topic takes uncompressed is copied."""
    topics = catalogue.load()
    most = topics.record_bytes_max(topology.QUARANTINE)
    own_headers = 10 * 100 + 4 * quarantine.DETAIL_CHARACTERS_MAX

    assert most >= quarantine.COPY_BYTES_MAX + 100, "a batch of one record has 61 bytes beside it"
    inputs = (t.name for t in topics.topics if t.role in ("input", "output"))
    largest = max(topics.record_bytes_max(name) for name in inputs if name != topology.QUARANTINE)
    assert largest + own_headers <= quarantine.COPY_BYTES_MAX


def test_every_upstream_system_has_a_quota_and_the_shipped_list_says_so() -> None:
    """What upstream may write is limited as far as Kafka can.
    `npp topics quotas > deploy/quotas.txt` makes the list again."""
    topics = catalogue.load()
    upstream = {t.producers[0] for t in topics.inputs() if t.sources and t.producers[0] != "api"}
    limited = {n for n, p in topics.principals.items() if p.producer_bytes_per_second is not None}

    assert upstream <= limited
    shipped = ROOT / "deploy" / "quotas.txt"
    assert shipped.read_text(encoding="utf-8").splitlines() == quota_lines(topics)
