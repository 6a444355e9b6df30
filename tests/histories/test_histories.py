"""The recorded histories with today's code: folded, verified, decided again byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.auditor import Evidence, Record, audit
from tests.histories.__main__ import FOLDER, NAMES, SIZE_BYTES_MAX
from tests.histories.file import SUFFIX, log_of, read
from tests.histories.proof import problems, prove

pytestmark = pytest.mark.slow

FILES = sorted(FOLDER.glob(f"*{SUFFIX}"))


def test_every_recorded_history_is_proved_in_every_strength() -> None:
    """DEP-07: fold, chain, re-decide, identity and money, over as much as when it was recorded.

    A failure means that today's code decides differently. If that is intended, the old behaviour
    stays selectable by its rule set's number (domain §8); otherwise fix the code.
    """
    wrong = {}
    for path in FILES:
        made = read(path)
        assert made.expected["events"] > 0
        wrong[path.name] = problems(made, prove(made))
    assert wrong == {path.name: [] for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_auditor_finds_nothing_in_a_recorded_history(path: Path) -> None:
    """The auditor, which shares no code with the product, agrees: the books balance, and a payment
    at rest holds nothing, requests nothing, awaits nothing.
    """
    made = read(path)
    records: dict[str, list[Record]] = {}
    for (topic, number), found in sorted(log_of(made).records.items()):
        records.setdefault(topic, []).extend(
            Record(topic, number, r.offset, r.key, r.value, tuple(r.headers)) for r in found
        )
    report = audit(Evidence(records, {each.id: each.schema for each in made.schemas}))
    assert report.violations == [], report.text()
    assert report.counters["payments"] == made.expected["payments"]
    assert report.counters["records at rest"] > 0


def test_the_histories_are_known_and_small() -> None:
    """They are kept with the code forever."""
    assert {path.name.removesuffix(SUFFIX) for path in FILES} == set(NAMES)
    assert all(path.stat().st_size <= SIZE_BYTES_MAX for path in FILES)
