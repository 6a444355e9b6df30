"""The server as a process: it answers, tells open streams that it stops, and exits 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.platform.children import free_ports
from tests.api.harness import ApiHarness
from tests.rooms import ROOT

pytestmark = pytest.mark.slow

START_S_MAX = 120.0
END_S_MAX = 30.0


def main(folder: str, port: str) -> None:
    """The child: the product's own server over a harness."""
    from api.server import ApiServer
    from engine.loop.watch import stop_on_signals

    harness = ApiHarness(Path(folder))
    server = ApiServer(harness.app, harness.app.state.streams, host="127.0.0.1", port=int(port))
    stop_on_signals(server.request_stop, END_S_MAX)
    Path(folder, "token").write_text(harness.token("viewer"))
    server.run()


def test_sigterm_ends_open_streams_and_the_process_exits_0(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(tmp_path), str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        until = time.monotonic() + START_S_MAX
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
            while True:
                try:
                    http.get("/livez")
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < until
                    assert child.poll() is None
                    time.sleep(0.2)
            token = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}
            answer = http.get("/api/session", headers=token)
            assert answer.status_code == 200
            with http.stream("GET", "/api/stream", headers=token) as stream:
                lines = stream.iter_lines()
                assert "event: ready" in [next(lines) for _ in range(3)]
                child.send_signal(signal.SIGTERM)
                assert "event: closing" in list(lines)
        assert child.wait(END_S_MAX) == 0
    finally:
        child.kill()
        child.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
