"""Checkpoints in the read model: which one covers an offset, and its leaves."""

from __future__ import annotations

import pytest

from readmodel import rows
from readmodel.model import Model
from tests.readmodel.rows import (
    checkpoint,
    event,
    given,
    outcome,
)

pytestmark = pytest.mark.slow


def test_the_checkpoint_of_an_offset_is_the_one_whose_range_contains_it(read_model: Model) -> None:
    known = [
        checkpoint(0, 1, 0, 9, b"a"),
        checkpoint(0, 2, 10, 19, b"b"),
        checkpoint(1, 1, 0, 99, b"c"),
    ]
    reader = given(read_model, checkpoints=known)
    found = [reader.checkpoint_over(0, offset) for offset in (0, 9, 10, 19, 20)]
    assert found == [known[0], known[0], known[1], known[1], None]
    assert reader.checkpoint_over(1, 50) == known[2]
    assert reader.checkpoint_over(2, 0) is None


def test_a_checkpoint_that_covers_void_ones_again_is_the_one_of_their_offsets(
    read_model: Model,
) -> None:
    known = [
        checkpoint(0, 1, 0, 9, b"a"),
        checkpoint(0, 2, 10, 19, b"void"),
        checkpoint(0, 3, 20, 29, b"void too"),
        checkpoint(0, 4, 10, 24, b"again, behind a lost tail"),
    ]
    reader = given(read_model, checkpoints=known)
    found = [reader.checkpoint_over(0, offset) for offset in (9, 10, 19, 20, 24)]
    assert found == [known[0], *[known[3]] * 4]


def test_leaves_are_each_payments_last_event_in_the_range_sorted_by_id(read_model: Model) -> None:
    known = [
        event(2, 1, 0),
        event(1, 1, 1),
        event(2, 2, 2),
        event(2, 3, 3),
        event(3, 1, 2, partition=1),
    ]
    reader = given(read_model, events=known)
    assert reader.leaves(checkpoint(0, 1, 0, 2), "operators") == [
        ("pi_0001", 1, known[1].hash, []),
        ("pi_0002", 2, known[2].hash, []),
    ]
    assert reader.leaves(checkpoint(0, 1, 3, 3), "operators") == [("pi_0002", 3, known[3].hash, [])]
    assert reader.leaves(checkpoint(0, 1, 4, 9), "operators") == []


def test_leaves_include_outcomes_of_operator_commands_and_a_refusal_adds_its_payment(
    read_model: Model,
) -> None:
    """All outcomes of an included payment count, whichever checkpoint covered them first."""
    said = [
        outcome(0, payment_intent_id="pi_0001"),
        outcome(1, payment_intent_id="pi_0002", result="REJECTED"),
        outcome(2, payment_intent_id="pi_0002", result="MISROUTED"),
        outcome(3, payment_intent_id="pi_0002", cause_topic="reports"),
        outcome(4, payment_intent_id="pi_0002", cause_partition=1),
        outcome(5, payment_intent_id="pi_0003", result="REJECTED"),
        outcome(6, payment_intent_id="pi_0002"),
    ]
    known = [event(1, 1, 0), event(2, 1, 1), event(1, 2, 2)]
    reader = given(read_model, events=known, outcomes=said)
    topic = said[0].cause_topic
    assert reader.leaves(checkpoint(0, 1, 0, 0, b"", 0, 1), topic) == [
        ("pi_0001", 1, known[0].hash, [said[0].raw]),
        ("pi_0002", 0, bytes(32), [said[1].raw]),
    ]
    assert reader.leaves(checkpoint(0, 2, 1, 2, b"", 2, 6), topic) == [
        ("pi_0001", 2, known[2].hash, [said[0].raw]),
        ("pi_0002", 1, known[1].hash, [said[1].raw, said[6].raw]),
        ("pi_0003", 0, bytes(32), [said[5].raw]),
    ]
    assert reader.leaves(checkpoint(0, 3, 3, 2, b"", 5, 5), topic) == [
        ("pi_0003", 0, bytes(32), [said[5].raw])
    ]


def test_the_checkpoint_of_an_outcome_and_the_command_at_an_offset(read_model: Model) -> None:
    known = [
        checkpoint(0, 1, 0, 9, b"a", 0, -1),
        checkpoint(0, 2, 10, 9, b"b", 0, 3),
        checkpoint(0, 3, 10, 19, b"c", 4, 3),
        checkpoint(0, 4, 20, 29, b"d", 4, 8),
    ]
    command = rows.CommandRow(partition=0, offset=7, raw=b"cancel")
    reader = given(read_model, checkpoints=known, commands=[command])
    found = [reader.checkpoint_over_outcome(0, offset) for offset in (0, 3, 4, 8, 9)]
    assert found == [known[1], known[1], known[3], known[3], None]
    assert [reader.checkpoint_over(0, offset) for offset in (9, 10)] == [known[0], known[2]]
    assert reader.checkpoint(0, 3) == known[2]
    assert reader.last_checkpoint(0) == known[3]
    assert (reader.command_at(0, 7), reader.command_at(0, 8)) == (command, None)
