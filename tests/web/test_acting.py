"""Actions through forms: the same commands, roles and refusals as over the API."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.acting import TEXT
from tests.web.harness import Browser, PagesHarness

pytestmark = pytest.mark.slow


def notice(browser: Browser, answer: object) -> str:
    """The page to which a form's response redirects."""
    assert answer.status_code == 303, answer.text  # type: ignore[attr-defined]
    page = browser.get(answer.headers["location"])  # type: ignore[attr-defined]
    assert page.status_code == 200, page.text
    text: str = page.text
    return text


def ask(harness: PagesHarness, browser: Browser, payment: str, **fields: str) -> str:
    """The approval's id."""
    form = {"action": "RETRY", "reason": "the rail timed out", **fields}
    answer = browser.post(f"/payments/{payment}/request", form)
    harness.work()
    assert "Done." in notice(browser, answer)
    listed = harness.get("vera", f"/api/approvals?paymentIntentId={payment}").json()["items"]
    approval: str = listed[-1]["approvalId"]
    return approval


def test_two_people_retry_a_payment_by_forms(harness: PagesHarness) -> None:
    """Request, approval and retry are the API's commands, and are in its audit log."""
    payment = harness.failed("one")
    olga, anna = harness.browser("olga"), harness.browser("anna")
    page = olga.get(f"/payments/{payment}").text
    assert "Will send AUD" in page
    certain = "Non-payment of att_001 is certain: TIMEOUT, code AB03, ended by the rail."
    assert certain in page
    approval = ask(harness, olga, payment)

    place = f"/approvals/{payment}/{approval}"
    assert certain in anna.get(place).text
    assert "You cannot approve it yourself" in olga.get(place).text
    assert "Will send AUD" in anna.get(place).text
    decided = anna.post(place, {"word": "approve", "reason": "looks right"})
    harness.work()
    assert "Done." in notice(anna, decided)

    page = olga.get(f"/payments/{payment}").text
    assert "Approved by anna" in page
    retried = olga.post(
        f"/payments/{payment}/act",
        {"action": "RETRY", "approvalId": approval, "reason": "approved"},
    )
    harness.work()
    assert "Done." in notice(olga, retried)
    state = harness.get("vera", f"/api/payments/{payment}").json()
    assert state["attemptId"] == "att_002"
    actions = [each["action"] for each in harness.get("audra", "/api/audit").json()["items"]]
    assert actions[:3] == ["RETRY", "APPROVE", "REQUEST_APPROVAL"]


def test_reloading_an_outcome_page_shows_the_same(harness: PagesHarness) -> None:
    """The result has its own URL: reloading it repeats nothing."""
    payment = harness.failed("one")
    olga = harness.browser("olga")
    answer = olga.post(f"/payments/{payment}/request", {"action": "RETRY", "reason": "x"})
    harness.work()
    place = answer.headers["location"]
    assert parse_qs(urlsplit(place).query)["outcome"][0].startswith("cmd-")
    before = len(harness.audited()) + len(harness.outcomes())
    assert olga.get(place).text.count("Done.") == olga.get(place).text.count("Done.") == 1
    assert len(harness.audited()) + len(harness.outcomes()) == before


def test_a_refusal_is_shown_with_its_sentence(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    olga = harness.browser("olga")
    answer = olga.post(f"/payments/{payment}/act", {"action": "CANCEL", "reason": "x"})
    harness.work()
    assert "Refused: The action needs state CREATED" in notice(olga, answer)


@pytest.mark.parametrize(
    ("person", "path", "fields"),
    [
        ("vera", "request", {"action": "RETRY", "reason": "x"}),
        ("anna", "act", {"action": "RETRY", "reason": "x"}),
        ("olga", "act", {"action": "EXPIRE", "reason": "x"}),
        ("vera", "reveal", {"reason": "x"}),
    ],
)
def test_a_missing_role_is_refused_as_by_the_api(
    harness: PagesHarness, person: str, path: str, fields: dict[str, str]
) -> None:
    payment = harness.failed("one")
    before = harness.outcomes()
    answer = harness.browser(person).post(f"/payments/{payment}/{path}", fields)
    assert answer.status_code == 403
    assert harness.outcomes() == before
    assert "MISSING_ROLE" in answer.text


def test_the_page_says_why_other_actions_are_unavailable(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    page = harness.browser("vera").get(f"/payments/{payment}").text
    assert "<dt>Cancel</dt><dd>It needs CREATED, AUTHORISED or SENT.</dd>" in page
    assert re.search(
        r"<dt>Retry</dt><dd>Your role does not allow this; .*operator may\.</dd>", page
    )
    assert 'action="/payments/' not in page.partition('id="actions"')[2]


def test_a_form_without_a_reason_is_refused(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    answer = harness.browser("olga").post(
        f"/payments/{payment}/request", {"action": "RETRY", "reason": ""}
    )
    assert answer.status_code == 400


def test_names_are_hidden_until_a_reason_is_given(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    parties = harness.get("olga", f"/api/payments/{payment}").json()["parties"]
    name = parties["debtor"]["name"]
    olga = harness.browser("olga")
    assert name not in olga.get(f"/payments/{payment}").text
    assert olga.post(f"/payments/{payment}/reveal", {"reason": ""}).status_code == 400
    shown = olga.post(f"/payments/{payment}/reveal", {"reason": "the customer calls"})
    assert name in shown.text
    noted = [each for each in harness.audited() if each.action == "REVEAL_PERSONAL_DATA"]
    assert [(each.operator_id, each.reason) for each in noted] == [("olga", "the customer calls")]
    assert name not in olga.get(f"/payments/{payment}").text


def test_nothing_is_revealed_when_it_cannot_be_audited(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    name = harness.get("olga", f"/api/payments/{payment}").json()["parties"]["debtor"]["name"]
    olga = harness.browser("olga")
    word = olga.word()
    harness.log.away = True
    answer = olga.http.post(f"/payments/{payment}/reveal", data={"csrf": word, "reason": "x"})
    assert answer.status_code == 503
    assert name not in answer.text


def test_a_records_bytes_are_hidden_until_a_reason_is_given(
    harness: PagesHarness,
) -> None:
    """They contain what the record contained, including names and accounts."""
    payment = harness.failed("one")
    harness.park(payment)
    harness.work()
    (item,) = harness.get("olga", "/api/quarantine").json()["items"]
    place = f"/quarantine/{item['partition']}/{item['offset']}"
    olga, vera = harness.browser("olga"), harness.browser("vera")
    assert "000000  " not in olga.get(place).text
    assert "Reveal" in olga.get(place).text
    assert "your role does not see them" in vera.get(place).text
    assert vera.post(f"{place}/reveal", {"reason": "I am curious"}).status_code == 403
    assert olga.post(f"{place}/reveal", {"reason": ""}).status_code == 400
    assert [each for each in harness.audited() if each.action == "REVEAL_PERSONAL_DATA"] == []
    word = olga.word()
    harness.log.away = True
    unnoted = olga.http.post(f"{place}/reveal", data={"csrf": word, "reason": "x"})
    harness.log.away = False
    assert unnoted.status_code == 503
    assert "000000  " not in unnoted.text
    shown = olga.post(f"{place}/reveal", {"reason": "which sender is it"})
    assert "000000  " in shown.text
    noted = [each for each in harness.audited() if each.action == "REVEAL_PERSONAL_DATA"]
    assert [(each.operator_id, each.reason, each.payment_intent_id) for each in noted] == [
        ("olga", "which sender is it", payment)
    ]
    assert "000000  " not in olga.get(place).text


def test_free_text_is_shown_as_text_on_every_page(harness: PagesHarness) -> None:
    """DSH-06."""
    payment = harness.failed("one")
    olga = harness.browser("olga")
    approval = ask(harness, olga, payment, reason=TEXT)
    sue = harness.browser("sue")
    for place in (
        f"/approvals/{payment}/{approval}",
        "/approvals",
        "/audit",
        f"/payments/{payment}",
    ):
        page = sue.get(place)
        assert page.status_code == 200
        assert "<b>x</b>" not in page.text, place
    assert "&lt;b&gt;x&lt;/b&gt;" in sue.get("/audit").text
    echoed = sue.get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in echoed
    assert "&lt;script&gt;alert(1)" in echoed
