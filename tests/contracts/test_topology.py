"""Topic names in code and in topics.yaml are the same, and so is the order of decision."""

from __future__ import annotations

from processors import payments, topology
from schemas import catalogue

NAMES = {value for name, value in vars(topology).items() if name.isupper()}


def test_every_topic_of_the_code_is_declared_and_every_declared_one_is_in_the_code() -> None:
    """EV-08: topics.yaml is the one source."""
    assert {topic.name for topic in catalogue.load().topics} == NAMES


def test_the_inputs_stand_in_the_order_in_which_a_batch_decides_them() -> None:
    """D§4: decisions, operator commands, reports, results, notified, timers, commands."""
    assert tuple(topic.name for topic in catalogue.load().inputs()) == payments.INPUTS


def test_only_command_topics_carry_sources() -> None:
    """SEC-06: a source is bound to a topic, and to one topic only."""
    inputs = catalogue.load().inputs()
    with_sources = [topic.name for topic in inputs if topic.sources]
    sources = [source for topic in inputs for source in topic.sources]

    upstream = [name for name in payments.INPUTS if payments.ORIGINS[name] == "upstream"]
    assert with_sources == upstream
    assert len(sources) == len(set(sources))


def test_each_instruction_goes_to_a_topic_that_carries_it() -> None:
    for record, topic in payments.INSTRUCTION_TOPICS.items():
        assert record in catalogue.load().topic(topic).record_types()
