"""The pages on a port: the product's own server over the harness, which can be stopped and
restarted.
"""

from __future__ import annotations

import threading
from pathlib import Path

from api.server import ApiServer
from app.platform.children import free_ports
from tests.web.harness import PagesHarness

START_S_MAX = 30.0


class Site:
    """`harness` has the world; `url` is the pages' address, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.harness = PagesHarness(folder)
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start serving, with a new application as in a new process."""
        app, pages = self.harness.build()
        self._server = ApiServer(pages, app.state.streams, host="127.0.0.1", port=self._port)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(round(START_S_MAX / 0.05)):
            if self._server.started:
                return
            waited.wait(0.05)
        raise TimeoutError("the server did not start")

    def fall(self) -> None:
        """Stop at once, as if killed: connections are dropped."""
        self._server.force_exit = True
        self._server.request_stop()
        self._thread.join(START_S_MAX)

    def close(self) -> None:
        self.fall()
        self.harness.close()
