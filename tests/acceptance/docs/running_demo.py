"""A demo that a test starts as a user does and leaves running, with its own rules, load
and users.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from api.auth.local import LocalIssuer
from app.demo.programs import SUBMITTER_SOURCE
from core.values import payment_intent_id
from engine.clock import SystemClock
from tests.acceptance.harness import Product

START_SECONDS_MAX = 400.0
END_SECONDS_MAX = 120.0
STAYS = "keeps running until Ctrl-C"


class DemoPlace:
    """The content of the demo's JSON line, and more tokens of its own issuer."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "demo"
        self.log = folder / "demo.log"
        self.ready: dict[str, Any] = {}

    def start(self, *options: str) -> None:
        """Returns once its load is proved and it keeps running."""
        folder = str(self.data)
        words = ("demo", "--json", "--seed", "3", "--data", folder, *options)
        kept = ("NPP_CACHE_DIR", "NPP_JAVA")
        mine = {k: v for k, v in os.environ.items() if not k.startswith("NPP_") or k in kept}
        with self.log.open("w") as output:
            self._demo = subprocess.Popen(
                [sys.executable, "-m", "app.cli.npp", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=mine,
            )
        until = time.monotonic() + START_SECONDS_MAX
        while STAYS not in self.log.read_text():
            self.tend()
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.2)
        lines = self.log.read_text().splitlines()
        self.ready = json.loads(next(each for each in lines if each.startswith('{"ready"')))
        self._issuer = LocalIssuer(self.data, SystemClock())

    def end(self) -> str:
        """Ends it; returns its output."""
        self._demo.send_signal(signal.SIGINT)
        self._demo.wait(END_SECONDS_MAX)
        return self.log.read_text()

    def tend(self) -> None:
        assert self._demo.poll() is None, self.log.read_text()[-3000:]

    def url(self, name: str) -> str:
        return str(self.ready["simulators"].get(name, self.ready["api"]))

    def token(self, person: str, *roles: str, client_id: str | None = None) -> str:
        return self._issuer.issue(person, roles, client_id=client_id)

    def tokens(self) -> dict[str, str]:
        return dict(self.ready["tokens"])

    def rail_entry(self, external_ref: str) -> dict[str, Any] | None:
        raise NotImplementedError(external_ref)


class RunningDemo(Product):
    """Requests and actions in the demo, whose simulators are scripted per payment."""

    stage: DemoPlace

    def __init__(self, folder: Path) -> None:
        super().__init__(DemoPlace(folder))

    def start(self) -> None:
        self.stage.start("--payments", "20", "--rate", "20")
        self.url = self.stage.ready["api"]
        self.bootstrap = self.stage.ready["bootstrap"]

    def close(self) -> str:
        self.http.close()
        return self.stage.end()

    def create(
        self, steps: list[dict[str, Any]] | None = None, *, key: str | None = None, **fields: Any
    ) -> str:
        """Deposits Core answers this payment correctly and at once, whatever it does to others."""
        key = key or self.key()
        plain = [{"kind": "DELAY", "afterMillis": 0}]
        self.script(payment_intent_id(SUBMITTER_SOURCE, key), plain, "deposits")
        return super().create(steps, key=key, **fields)
