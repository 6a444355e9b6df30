"""The README's diagram and its demo sample match the product."""

from __future__ import annotations

import re
from typing import Final

from app.demo.run import FIGURES, RECONCILES
from core.transitions import TRANSITIONS
from tests.rooms import ROOT

TEXT: Final = (ROOT / "README.md").read_text(encoding="utf-8")
BEFORE_ITS_MEANING: Final = ("fold", "chain", "re-decide", "quarantine")


def test_the_state_diagram_has_every_transition_and_no_other() -> None:
    """SM-01: as in `core/transitions.py`."""
    drawn = re.findall(r"^    (\S+) --> (\S+?)(?::.*)?$", TEXT, flags=re.M)
    lead = {(each.source or "[*]", each.target) for each in TRANSITIONS}
    moving = {(source, target) for source, target in lead if source != target}
    assert set(drawn) == moving
    assert len(drawn) == len(moving)


def test_the_demo_sample_has_the_demos_figures_in_order() -> None:
    sample = TEXT.partition("```text\n")[2].partition("```")[0].splitlines()
    shown = [line.split()[0] for line in sample if re.match(r"[a-zA-Z]+ {2,}\S", line)]
    names = [each for each in shown if each not in ("money", "inputs")]  # lines of the replay
    assert names == [each for each in FIGURES if each in names]
    assert len(names) > 10
    assert sample[-1] == RECONCILES


def test_the_first_screen_uses_no_undefined_term() -> None:
    """A newcomer reads it: badges and the names of the proofs come later, if at all."""
    words = re.sub(r"```.*?```", "", TEXT.partition("## The next five minutes")[0], flags=re.S)
    assert [word for word in BEFORE_ITS_MEANING if word in words] == []
    assert "shields.io" not in TEXT
    assert len(re.findall(r"^.+$", words.partition("A payment goes")[0], flags=re.M)) <= 6
