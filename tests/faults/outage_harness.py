"""The API on a Kafka that may be stopped, with keys from a server that may be hostile."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.auth.keys import ASK_S_MIN
from api.auth.local import LocalIssuer
from app.platform.broker import Cluster
from engine.clock import SystemClock
from tests.broker.known_defects import crashed_in_client, named_as_hanging
from tests.faults.api_harness import ApiHarness, until

ELSEWHERE = "/elsewhere"
QUICK_SECONDS_MAX = 2.0  # for requests that need no unavailable dependency
HANG_SECONDS_MAX = 60.0


class KeyServer:
    """Publishes key sets: `says` is the response; None accepts the call and never responds."""

    def __init__(self) -> None:
        self.says: tuple[int, dict[str, str], bytes] | None = None
        self.elsewhere = b""  # the response at ELSEWHERE
        self.requested: list[str] = []
        self.requested_s = 0.0
        self.go = threading.Event()  # ends the hanging calls
        server = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requested.append(self.path)
                server.requested_s = time.monotonic()
                if server.says is None:
                    server.go.wait(HANG_SECONDS_MAX)
                    return
                status, headers, body = server.says
                if self.path == ELSEWHERE:
                    status, headers, body = 200, {}, server.elsewhere
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def lists(self, *issuers: LocalIssuer) -> None:
        keys = [key for each in issuers for key in json.loads(each.jwks.read_bytes())["keys"]]
        self.says = (200, {}, json.dumps({"keys": keys}).encode())

    def sends_to(self, issuer: LocalIssuer) -> None:
        """Redirect to another place that lists this issuer's keys."""
        self.elsewhere = issuer.jwks.read_bytes()
        self.says = (302, {"Location": self.url + ELSEWHERE}, b"")

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


class OutageHarness(ApiHarness):
    """An ApiHarness whose keys come from a server, on a Kafka that may be stopped."""

    def __init__(self, kafka: Cluster, registry: str, folder: Path) -> None:
        super().__init__(kafka.bootstrap, registry, folder)
        self.kafka = kafka
        self.key_server = KeyServer()
        self.env["NPP_JWKS"] = f"{self.key_server.url}/jwks"
        clock = SystemClock()
        self.next_issuer = LocalIssuer(folder / "next", clock)
        self.thief = LocalIssuer(folder / "thief", clock)

    def close(self) -> None:
        self.key_server.close()
        super().close()

    def request_by(self, issuer: LocalIssuer, path: str = "/api/session") -> httpx.Response:
        """The response to a viewer with a token of this issuer."""
        headers = {"Authorization": f"Bearer {issuer.issue('vera', ('viewer',))}"}
        return self.http.get(path, headers=headers)

    def may_ask_again(self) -> None:
        """Wait until the API may call the key server again."""
        time.sleep(max(0.0, self.key_server.requested_s + ASK_S_MIN + 0.5 - time.monotonic()))

    def quickly(self, payment: str) -> None:
        """Reads continue for known users."""
        assert self.get("vera", "/api/summary").status_code == 200  # it queries Kafka for the delay
        for path in ("/api/session", f"/api/payments/{payment}", "/api/payments"):
            took = []
            for _ in range(
                2
            ):  # a request that waits for Kafka is slow each time; a busy machine is not
                began = time.monotonic()
                assert self.get("vera", path).status_code == 200
                took.append(time.monotonic() - began)
                if took[-1] < QUICK_SECONDS_MAX:
                    break
            assert min(took) < QUICK_SECONDS_MAX, path

    def start_everything(self) -> None:
        """All processes, while the key server does not answer."""
        self.key_server.says = (503, {}, b"")
        self.apply()
        self.start_simulators()
        self.payments = self.start_payments()
        adapters, self.projector = self.start_adapters(), self.start_projector()
        self.api = self.start_api()
        self.ready(self.payments, adapters, self.projector)


class Product:
    """The set-up of this file's tests; `renew` makes another, on a Kafka of its own."""

    def __init__(self, registry: str, folders: pytest.TempPathFactory) -> None:
        self._registry, self._folders = registry, folders
        self._ends = ExitStack()
        self.harness = self._made()

    def _made(self) -> OutageHarness:
        kafka = self._ends.enter_context(Cluster(self._folders.mktemp("kafka"), heap_mb=256))
        made = OutageHarness(kafka, self._registry, self._folders.mktemp("api"))
        self._ends.callback(made.close)
        made.start_everything()
        return made

    def renew(self) -> None:
        self.close()
        self.harness = self._made()
        self.get_ready()

    def get_ready(self) -> None:
        """Also if the test that starts without keys runs in another process."""
        if not self.harness.is_ready():
            self.harness.key_server.lists(self.harness.issuer)
            until(lambda: self.harness.is_ready() or None)

    def close(self) -> None:
        self._ends.close()


def met_defects(harness: OutageHarness) -> list[str]:
    crashed = [f"{name} crashed in librdkafka" for name in crashed_processes(harness)]
    return crashed + named_as_hanging(harness)


def crashed_processes(harness: OutageHarness) -> list[str]:
    return [each.name for each in harness.processes if crashed_in_client(each)]
