"""topics.yaml is read completely, and contradictions are refused by name (EV-08)."""

from __future__ import annotations

import pytest

from core.control_records import CONTROL_RECORDS
from core.payment.events import EVENTS
from schemas.catalogue import RECORD_BY_NAME, TOPICS_YAML, CatalogueError, load, parse


def test_the_shipped_file_has_a_partition_count_for_every_topic_and_profile() -> None:
    file = load()
    for topic in file.topics:
        for profile in file.profiles:
            assert file.partition_count(topic.name, profile) >= 1


def test_events_and_control_cover_all_their_record_types() -> None:
    file = load()
    assert file.topic("npp.payment.events.v1").record_types() == EVENTS
    assert file.topic("npp.control.v1").record_types() == CONTROL_RECORDS


def test_every_written_record_type_is_on_some_topic() -> None:
    on_topics = {name for topic in load().topics for name in topic.record_names()}
    assert on_topics == set(RECORD_BY_NAME)


def test_kept_topics_never_expire_and_a_topics_own_configuration_takes_precedence() -> None:
    file = load()
    assert file.configuration("npp.payment.events.v1", "production")["retention.ms"] == "-1"
    assert file.configuration("npp.payment.events.v1", "production")["min.insync.replicas"] == "2"
    assert (
        file.configuration("npp.rail.submitted.v1", "embedded")["cleanup.policy"]
        == "compact,delete"
    )
    assert file.configuration("npp.payment.lifecycle.v1", "embedded")["cleanup.policy"] == "compact"


def test_the_source_map_binds_each_command_topic_to_its_sources() -> None:
    sources = load().source_topics()
    assert sources["npp.payment.commands.v1"] == ("mobile-app",)
    assert sources["npp.payment.commands.batch.v1"] == ("payroll-batch",)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("records: [RailReport]", "records: [RailRepord]", "no record type RailRepord"),
        ("producers: [resolve, redriver]", "producers: [solver, redriver]", "no principal solver"),
        ("partitions: audit\n", "partitions: audits\n", "no partition group audits"),
        ("name: npp.rail.reports.v1", "name: npp.resolve.decisions.v1", "declared twice"),
        ("source_map: 1", "source_map: one", "source_map"),
        ("version: 1\n", "version: 1\nextra: 2\n", "extra"),
        ("    retention_ms: 220903200000   # 7 years\n", "", "needs retention_ms"),
    ],
)
def test_a_contradictory_file_is_refused_by_name(before: str, after: str, says: str) -> None:
    text = TOPICS_YAML.read_text()
    assert before in text
    with pytest.raises(CatalogueError, match=says):
        parse(text.replace(before, after, 1))
