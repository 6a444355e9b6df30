"""The whole product with the shipped rules under a real Prometheus, and a pager."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.demo.programs import API, PROCESSORS, REPLAY, SUBMITTER_SOURCE
from app.demo.prometheus import PROMETHEUS
from core.values import payment_intent_id
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, Harness
from tests.deploy.exported import alert
from tests.deploy.pager import Pager

NOTIFIED_SECONDS_MAX = 150.0
EVERY_PROCESS = (*PROCESSORS, REPLAY, API)


class Watched(Harness):
    """`breaks` and `holds` evaluate a shipped alert's own expression in Prometheus, over what it
    scraped from the running processes.
    """

    def __init__(self, folder: Path) -> None:
        self.pager = Pager()
        super().__init__(folder, pager=self.pager.url)
        self.start_seconds = 0.0  # until every process was ready

    def start_all(self) -> None:
        begun_s = time.monotonic()
        self.start(EVERY_PROCESS)
        self.start_seconds = time.monotonic() - begun_s

    def close(self) -> None:
        super().close()
        self.pager.close()

    def prometheus(self, path: str, **query: Any) -> Any:
        url = self.stage.watcher_url(PROMETHEUS)
        assert url is not None, "install prometheus and prometheus-alertmanager"
        answer = self.http.get(f"{url}/api/v1/{path}", params=query)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def samples(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now."""
        return list(self.prometheus("query", query=expression)["result"])

    def value(self, expression: str) -> float:
        """The sum of its samples; 0 if there are none."""
        return sum(float(each["value"][1]) for each in self.samples(expression))

    def breaks(self, *names: str, instead: Mapping[str, str] | None = None) -> None:
        """Wait until each of these alerts' expressions is true. `instead` replaces a limit or a
        window of minutes by a shorter one.
        """
        requested = {name: _shorter(alert(name)["expr"], instead or {}) for name in names}

        def broken() -> bool:
            for name in [name for name, expr in requested.items() if self.samples(expr)]:
                del requested[name]
            return not requested

        try:
            self.soon(broken, NOTIFIED_SECONDS_MAX)
        except AssertionError:
            raise AssertionError(f"these alerts did not come true: {requested}") from None

    def holds(self, *names: str, instead: Mapping[str, str] | None = None) -> None:
        """None of these alerts' expressions is true now, so that a later one is a change."""
        requested = {name: _shorter(alert(name)["expr"], instead or {}) for name in names}
        found = {name: self.samples(expr) for name, expr in requested.items()}
        assert {name: given for name, given in found.items() if given} == {}

    def notified(
        self, name: str, status: str, *, seconds: float = NOTIFIED_SECONDS_MAX, **labels: str
    ) -> tuple[str, dict[str, Any]]:
        """Wait for an alert at the pager; return the path that it came by, and the alert."""

        def found() -> tuple[str, dict[str, Any]] | None:
            for path, each in self.pager.notified_of(name, status):
                if labels.items() <= each["labels"].items():
                    return path, each
            return None

        what = f"{name} {status}; notified: {self.pager.notified}"
        path, each = self.soon(found, seconds, what)
        return str(path), dict(each)

    def asked_for(self) -> str:
        """A payment that will settle, whether or not the API can show its outcome now."""
        key = self.key()
        payment = payment_intent_id(SUBMITTER_SOURCE, key)
        self.script(payment, [ACCEPT, SETTLE])
        assert self.submit(key).status_code in (200, 202)
        return payment

    def database(self) -> Path:
        """The read model's own file."""
        (found,) = (self.stage.data / "readmodel").rglob("*.db")
        return found

    def publish_again(self, payment: str, times: int = 1) -> None:
        """Publish the command that created this payment again, unchanged; each is a duplicate."""
        topic, partition = topology.API_COMMANDS, self.cluster.partition(payment)
        found = [each.at.value for each in self.cluster.read(topic, partition, payment.encode())]
        self.put(topic, *[found[0] or b""] * times, key=payment, partition=partition)


def _shorter(expression: str, instead: Mapping[str, str]) -> str:
    for shipped, shorter in instead.items():
        assert shipped in expression, (shipped, expression)
        expression = expression.replace(shipped, shorter)
    return expression
