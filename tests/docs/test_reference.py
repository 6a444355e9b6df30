"""The committed pages of docs/reference match the code."""

from __future__ import annotations

import re

import pytest

from control import quarantine
from core import refusals
from core.transitions import TRANSITIONS
from tests.docs.reference.pages import FOLDER, PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_matches_the_code(name: str) -> None:
    """`python -m tests.docs.reference` writes it again. ERR-06, SM-06."""
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == PAGES[name](), f"{name} is old: python -m tests.docs.reference"


def test_there_are_no_other_pages() -> None:
    assert {each.name for each in FOLDER.iterdir()} == set(PAGES)


def test_every_rule_has_a_remedy_and_a_contact() -> None:
    """ERR-06: code, rule, cause, remedy, escalation."""
    page = PAGES["errors.md"]()
    for rule in refusals.RULES:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{rule.name}` |"))
        assert all(cell.strip() for cell in row.strip("|").split("|")), row
    assert len(refusals.RULES) > 30
    for reason in quarantine.REASONS:
        assert f"| {reason} |" in page


def test_compliance_is_named_only_for_possible_misconduct() -> None:
    """ERR-06: waiting for an approval does not concern compliance; approving one's own request
    does.
    """
    rows = [line for line in PAGES["errors.md"]().splitlines() if line.startswith("| `")]
    named = {line.split("`")[1] for line in rows if line.endswith("| compliance |")}
    assert {"SELF_APPROVAL", "MISSING_ROLE", "SOURCE_NOT_ENTITLED"} <= named
    assert not named & {"APPROVAL_PENDING", "STATE_PRECONDITION", "CONFLICT_OPEN"}
    assert all("escalate to compliance" in line for line in rows if line.split("`")[1] in named)
    assert "escalate to compliance" not in "".join(
        line for line in rows if line.split("`")[1] not in named
    )


def test_the_diagram_names_every_state_and_no_other() -> None:
    diagram = PAGES["state-machine.md"]().split("```")[1]
    drawn = set(re.findall(r"[A-Z]{4,}", diagram))
    known = {t.target for t in TRANSITIONS}
    assert drawn == known


def test_no_metric_has_a_label_that_could_name_a_payment_or_a_person() -> None:
    """SEC-05: label values come from closed sets of our own."""
    labels = {
        label
        for line in PAGES["metrics.md"]().splitlines()
        if line.startswith("| `npp_")
        for label in line.split("|")[3].strip().split(", ")
    }
    allowed = {"-", "adapter", "alarm", "code", "kind", "operation", "outcome", "phase", "reason"}
    allowed |= {"strength"}
    allowed |= {"level", "method", "result", "route", "rule", "source", "state", "status", "topic"}
    allowed |= {"type", "port"}  # a port's name: api, callbacks, metrics
    allowed |= {"build", "python"}  # native or pure, and the Python version
    # A topic and partition, and the Kafka client's text about its bytes: required by engine.md.
    allowed |= {"reader", "partition", "offset", "error"}
    assert labels <= allowed
