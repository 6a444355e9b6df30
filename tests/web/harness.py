"""The pages over the API's harness: the real core, a real read model, no broker."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from app.platform.fetch import ensure_web
from engine.errors import Retry
from engine.partitioner import partition_of
from schemas import topology
from tests.api.command_harness import ROLES, ApiHarness, HarnessClock
from tests.processors.payments.world import PARTITIONS
from web.app import Pages, WebSettings, with_pages
from web.site import Person, Personas, Site

Response = Any  # the test client's, whichever library it uses
LOOPBACK: Final = ("127.0.0.1", 50_000)
CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')
PEOPLE: Final = tuple(Person(name, name.title(), roles[0]) for name, roles in ROLES.items())


class DriverJournal:
    """The driver's own log."""

    def __init__(self, harness: ApiHarness) -> None:
        self._driver = harness.world.driver
        self.away = False
        self.missing = 0  # records that the read model never gets

    def ends(self) -> Mapping[int, int]:
        if self.away:
            raise Retry("a test")
        ends = {each.partition: each.offset + 1 for each in self._driver.committed(topology.EVENTS)}
        return ends | {0: ends.get(0, 0) + self.missing}

    def created(self, payment_intent_id: str) -> tuple[int, int] | None:
        key = payment_intent_id.encode()
        found = [each for each in self._driver.committed(topology.EVENTS) if each.key == key]
        return (partition_of(key, PARTITIONS), found[0].offset) if found else None


class PagesHarness(ApiHarness):
    """As the API's harness; `browser` is a user's own client of the pages."""

    def __init__(
        self, folder: Path, *, https: bool = False, personas: bool = True, read_model: str = ""
    ) -> None:
        super().__init__(folder, url=read_model)
        self.journal = DriverJournal(self)
        self._services = dataclasses.replace(
            self.app.state.services,
            journal=self.journal,
            clock=HarnessClock(self.clock),
        )
        self._auth = self.app.state.auth
        people = Personas(PEOPLE, lambda person: self.token(person.id))
        self.settings = WebSettings(
            Fernet.generate_key(), ensure_web(), https=https, personas=people if personas else None
        )
        self.http.close()
        self.app, self.pages = self.build()
        self.http = TestClient(self.app)

    def build(self) -> tuple[FastAPI, Pages]:
        """A new application, as in a restarted process."""
        app = create_app(self._services, self._auth)
        self.pages = with_pages(app, self.settings)
        return app, self.pages

    def pages_state(self) -> Site:
        """The state of the pages that were built last."""
        return self.pages.site

    def browser(self, person: str | None = None) -> Browser:
        made = Browser(self.pages, https=self.settings.https)
        if person is not None:
            made.sign_in(person)
        return made


class Browser:
    """One user's cookies. Forms are read off the page before they are sent."""

    def __init__(self, pages: Any, *, https: bool = False) -> None:
        base = "https://testserver" if https else "http://testserver"
        self.http = TestClient(pages, base_url=base, client=LOOPBACK, follow_redirects=False)

    def get(self, path: str, **headers: str) -> Response:
        return self.http.get(path, headers=headers)

    def sign_in(self, person: str) -> Response:
        answer = self.http.post("/sign-in", data={"person": person, "next": "/"})
        assert answer.status_code == 303, answer.text
        return answer

    def word(self, path: str = "/") -> str:
        """This session's form token."""
        found = CSRF.search(self.get(path).text)
        assert found is not None
        return found[1]

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Response:
        return self.http.post(path, data={"csrf": self.word(), **fields}, headers=headers)
