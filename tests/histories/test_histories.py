"""The recorded histories, with today's code: folded, verified, decided again byte for byte."""

from __future__ import annotations

from tests.histories.__main__ import FOLDER, NAMES, SIZE_BYTES_MAX
from tests.histories.file import SUFFIX, read
from tests.histories.proof import problems, prove

FILES = sorted(FOLDER.glob(f"*{SUFFIX}"))


def test_every_recorded_history_is_proven_in_every_strength() -> None:
    """Issue 10: fold, chain, re-decide, identity and money, over as much as when it was recorded.

    A failure means that today's code decides what was decided otherwise. Where that is meant, the
    old behaviour stays selectable by its rule set's number (domain §8); else mend the code.
    """
    wrong = {}
    for path in FILES:
        made = read(path)
        assert made.expected["events"] > 0
        wrong[path.name] = problems(made, prove(made))
    assert wrong == {path.name: [] for path in FILES}


def test_the_histories_are_known_and_small() -> None:
    """They are kept with the code for ever, all of them once they are recorded."""
    assert {path.name.removesuffix(SUFFIX) for path in FILES} in (set(), set(NAMES))
    assert all(path.stat().st_size <= SIZE_BYTES_MAX for path in FILES)
