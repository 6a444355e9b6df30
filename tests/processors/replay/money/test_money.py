"""The strength `money` (domain §3): correct histories pass, and each wrong one is found by its
rule.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.payment import events as e
from core.values import CURRENCY, Cents, format_amount
from processors.replay.money import findings as money
from processors.replay.money.checks import Money
from tests.processors.replay import story as s
from tests.processors.replay import story_verdicts as v
from tests.processors.replay.money import money_histories as h
from tests.processors.replay.money import money_wrong as w
from tests.processors.replay.story import AMOUNT, Story
from tests.rooms import ROOT

pytestmark = pytest.mark.slow


def findings(story: Story, **how: bool) -> list[tuple[str, int]]:
    return [(each.kind, each.sequence) for each in Money().check(story.events, **how)]


def kinds(story: Story) -> set[str]:
    return {kind for kind, _ in findings(story)}


@pytest.mark.parametrize("make", h.RIGHT, ids=lambda each: each.__name__)
def test_a_correct_history_has_no_finding_and_is_at_rest(make: Callable[[], Story]) -> None:
    """Domain §3: the rules lead to balanced books, also when the record is at rest."""
    assert findings(make(), at_rest=True) == []


@pytest.mark.parametrize("make", h.UNDER_WAY, ids=lambda each: each.__name__)
def test_a_history_in_progress_has_a_finding_only_if_it_is_called_at_rest(
    make: Callable[[], Story],
) -> None:
    """Domain §3: a payment at rest holds nothing, requests nothing, awaits nothing."""
    assert findings(make()) == []
    assert {kind for kind, _ in findings(make(), at_rest=True)} == {money.NOT_AT_REST}


@pytest.mark.parametrize(
    ("make", "kind"), w.WRONG, ids=[f"{make.__name__}-{kind}" for make, kind in w.WRONG]
)
def test_a_wrong_history_is_found_by_its_rule(make: Callable[[], Story], kind: str) -> None:
    """Each money check has a test that makes it fail; a check without one fails the build."""
    assert kind in kinds(make())


def test_every_kind_of_finding_has_a_history_and_a_remedy() -> None:
    """A finding says what to do, and no kind of finding is unreachable."""
    made = {kind for _, kind in w.WRONG} | {money.NOT_AT_REST}
    assert made == set(money.TO_DO)


def test_the_runbook_explains_every_finding() -> None:
    """Operators look findings up there."""
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert [kind for kind in money.TO_DO if kind not in runbook] == []


def test_a_finding_names_the_event_the_formatted_amount_and_what_to_do() -> None:
    """Operators never see unformatted cents."""
    story = w.wrong_amount_by_verdict()
    found = Money().check(story.events)
    first = next(each for each in found if each.kind == money.SETTLED_OTHER_AMOUNT)
    assert type(story.events[first.sequence - 1]).__name__ == "PaymentSettled"
    assert format_amount(Cents(h.LESS), CURRENCY) in first.sentence
    assert first.sentence.endswith(money.TO_DO[money.SETTLED_OTHER_AMOUNT])
    for make, _ in w.WRONG:
        for each in Money().check(make().events):
            assert str(AMOUNT) not in each.sentence, each.sentence


def test_a_payment_parked_or_contradicted_by_deposits_core_is_not_called_at_rest() -> None:
    """Domain §5 and §3: a parked payment waits; operators correct Deposits Core's books outside the
    product.
    """
    parked = h.sent().then(s.failed(), s.made(e.ProcessingSuspended, error="defect"))
    assert findings(parked) == []
    assert {kind for kind, _ in findings(parked, at_rest=True)} == {money.NOT_AT_REST}
    disputed = h.sent().then(
        v.conflict("FUNDS_CONTRADICTION", h.LESS, report="HOLD:DECLINED:H01"), s.failed()
    )
    disputed.then(*v.resolved("AMOUNT_ACCEPTED", h.LESS))
    assert findings(disputed) == []


def test_a_payment_called_at_rest_names_what_it_waits_for() -> None:
    """A finding names open requests and refused ones."""
    said = [Money().check(make().events, at_rest=True) for make in (h.rejected, h.release_refused)]
    sentences = [each.sentence for findings in said for each in findings]
    assert ["R01 is not answered" in sentences[0], "R01 was refused" in sentences[1]] == [True] * 2


def test_a_history_that_ends_within_a_decision_is_not_checked_as_at_rest() -> None:
    """A replay up to a sequence may end between the end of a payment and its release."""
    story = w.hold_never_released()
    assert findings(story, whole=False) == []
