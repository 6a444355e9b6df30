"""A paging system that records what it receives."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Pager(ThreadingHTTPServer):
    """What Alertmanager posted, with the path of the receiver it was posted to."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def notified_of(self, alert: str, status: str) -> list[tuple[str, dict[str, Any]]]:
        return [
            (path, each)
            for path, each in list(self.notified)
            if each["labels"]["alertname"] == alert and each["status"] == status
        ]

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Pager

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.notified += [(self.path, each) for each in body["alerts"]]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class's name
        """Keeps the test's output clean."""
