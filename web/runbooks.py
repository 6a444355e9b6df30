"""The runbook as pages: all of it, and the section of each alert, to which `runbook_url` leads.

They need no sign-in, because a person on call may not be signed in yet; they contain nothing about
payments. Rendered once, from the repository's own files.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from web.site import Runbooks, Site, WebRoute, page

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
WHOLE: Final = "runbook.md"
ALERTS: Final = "runbook"  # the folder of the alerts' pages
ADDRESS: Final = "/runbooks"
LIST: Final = f"{ADDRESS}#alerts"
SECTION: Final = re.compile(r"^## (\w+)\n", re.MULTILINE | re.ASCII)


def read(docs: Path = DOCS) -> Runbooks:
    """The runbook as HTML. Raises OSError when a file is missing."""
    sections = {
        name: text
        for file in sorted((docs / ALERTS).glob("*.md"))
        for name, text in _sections(file.read_text(encoding="utf-8"))
    }
    names = {name.lower(): name for name in sections}
    _, _, text = (docs / WHOLE).read_text(encoding="utf-8").partition("\n")  # its title
    return Runbooks(
        _html(text, names, ""),
        {name: _html(text, names, ALERTS) for name, text in sections.items()},
    )


def _sections(text: str) -> list[tuple[str, str]]:
    _, *parts = SECTION.split(text)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _html(text: str, names: dict[str, str], folder: str) -> Markup:
    """A text as HTML; `folder`: the folder of its file, for relative links."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(inline.content))
    for token in tokens:
        token.children = _linked(token.children, names, folder)
    rendered = markdown.renderer.render(tokens, markdown.options, {})
    # A wide command scrolls, so it must be reachable by keyboard. HTML is off, so no text has this
    # tag.
    return Markup(rendered.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704


def _linked(tokens: list[Token] | None, names: dict[str, str], folder: str) -> list[Token] | None:
    """Links lead to our own pages; links to other files of the documentation become plain text."""
    if tokens is None:
        return None
    kept, dropped = [], False
    for token in tokens:
        if token.type == "link_open":
            address = _address(str(token.attrGet("href")), names, folder)
            dropped = address is None
            token.attrSet("href", address or "")
        if not (dropped and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept


def _address(target: str, names: dict[str, str], folder: str) -> str | None:
    file, _, place = target.partition("#")
    if target.startswith("https://"):
        return target
    if file == (f"../{WHOLE}" if folder else ""):
        return f"{ADDRESS}#{place}" if place else ADDRESS
    if "/" not in file if folder else file.startswith(f"{ALERTS}/"):
        return f"{ADDRESS}/{names[place]}" if place in names else LIST
    return None


def anchor(title: str) -> str:
    """The anchor of a title, as the documentation's links name it."""
    return re.sub(r"[^\w -]", "", title.lower(), flags=re.ASCII).replace(" ", "-")


async def runbook(request: Request) -> Response:
    """The page of the whole runbook, with the list of alerts."""
    site: Site = request.app.state.site
    return page(site, request, "runbook.html", runbook=site.runbooks)


async def alert(request: Request) -> Response:
    """The page of an alert: what it means, and what to do."""
    site: Site = request.app.state.site
    name = request.path_params["alert"]
    text = site.runbooks.alerts.get(name)
    if text is None:
        raise HTTPException(404)
    return page(site, request, "runbook-alert.html", name=name, text=text)


ROUTES: Final[tuple[BaseRoute, ...]] = (
    WebRoute(ADDRESS, runbook, methods=["GET"]),
    WebRoute(f"{ADDRESS}/{{alert}}", alert, methods=["GET"]),
)
