"""The model's sequences: 200 here, 5,000 in `make test`, 200,000 before a release (floors)."""

from __future__ import annotations

from tests.model.runner import description, run

SEQUENCES, SEED = 200, 1


def test_no_sequence_breaks_a_law() -> None:
    """Every law of the model holds at every step of every sequence."""
    tally = run(SEQUENCES, SEED, processes=1)
    assert "\n".join(description(found) for found in tally.found) == ""
    assert tally.sequences == SEQUENCES
