"""An alert's link leads to a page of the product that needs no sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from tests.deploy.exported import rules
from tests.web.harness import Browser, PagesHarness
from web.runbooks import ADDRESS

pytestmark = pytest.mark.slow

URLS: Final = {r["alert"]: r["annotations"]["runbook_url"] for r in rules() if "alert" in r}
BASE: Final = "{{ $externalLabels.runbooks }}"
COMMANDS: Final = 3
PAGE_BYTES_MAX: Final = 300_000


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = PagesHarness(tmp_path_factory.mktemp("runbooks"))
    yield made.browser()
    made.close()


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if tag == "a":
            self.targets.append(given["href"])
        self.anchors |= {given["id"]} if "id" in given else set()


@pytest.mark.parametrize("alert", sorted(URLS))
def test_an_alerts_link_shows_impact_commands_decisions_and_roll_back(
    stranger: Browser, alert: str
) -> None:
    """MET-12, ESC-02."""
    assert URLS[alert].startswith(BASE)
    answer = stranger.get(URLS[alert].replace(BASE, ADDRESS))
    assert answer.status_code == 200
    assert f"<h1>{alert}</h1>" in answer.text
    assert re.search(r"<p><strong>Impact\.</strong> \S", answer.text)
    (commands,) = re.findall(r"<pre[^>]*><code[^>]*>(.*?)</code></pre>", answer.text, re.DOTALL)
    assert len(re.findall(r"^npp ", commands, re.MULTILINE)) == COMMANDS
    head, _, rows = answer.text.partition("<tbody>")
    assert "<th>seen</th>\n<th>means</th>\n<th>do</th>" in head
    assert rows.count("<tr>") > 1
    assert re.search(r"<p><strong>Roll back\.</strong> \S", answer.text)
    assert '<a href="/runbooks#alerts-and-levels">Whom to call</a>' in answer.text


def test_the_alerts_pages_link_to_the_contacts_of_every_level(stranger: Browser) -> None:
    """MET-12, ESC-02: no sign-in is needed to find whom to call."""
    _, _, levels = stranger.get(ADDRESS).text.partition('<h2 id="alerts-and-levels">')
    for level, contact in (("1", "ops"), ("2", "engineering"), ("3", "compliance")):
        assert re.search(rf"<td>{level}</td>\n<td>[^<]+</td>\n<td>{contact}@\S+</td>", levels)


def test_every_link_of_these_pages_has_a_target(stranger: Browser) -> None:
    """Each alert's page and the whole runbook: to an existing place here, or outside."""
    pages = {path: Links(stranger.get(path).text) for path in (ADDRESS, *map(at, URLS))}
    wrong = []
    for path, links in pages.items():
        for target in links.targets:
            file, _, place = target.partition("#")
            other = pages.get(file or path)
            if other is not None:
                wrong += [(path, target)] if place and place not in other.anchors else []
            elif not target.startswith("https://"):
                wrong += [] if stranger.get(target).status_code in (200, 303) else [(path, target)]
    assert wrong == []
    assert {f"{ADDRESS}/{alert}" for alert in URLS} <= set(pages[ADDRESS].targets)


def at(alert: str) -> str:
    return f"{ADDRESS}/{alert}"


def test_the_whole_runbook_is_one_page(stranger: Browser) -> None:
    answer = stranger.get(ADDRESS)
    assert answer.status_code == 200
    assert len(answer.content) < PAGE_BYTES_MAX
    assert '<h2 id="alerts-and-levels">' in answer.text


def test_an_unknown_alert_is_reported(stranger: Browser) -> None:
    """The text from the URL is shown as text."""
    answer = stranger.get(at("%3Cscript%3E"))
    assert answer.status_code == 404
    assert "<script>" not in answer.text.partition("<main")[2]
