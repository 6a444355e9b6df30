"""How fast the API answers a GET by id, compared with the simplest FastAPI route of the same size.

Both are served by uvicorn in a process of their own and asked in turns by one loader, in one run:
`python -m bench.api`. `perCpuSecond` is of the server's own CPU time, and does not depend on what
else the machine does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from app.config import memory
from app.platform.children import free_ports
from bench.rig.answer import give, options_of
from bench.rig.process import cpu_seconds

CONNECTIONS: Final = 8
ROUNDS: Final = 5
START_S_MAX: Final = 300.0  # on a loaded machine
PAYMENTS: Final = 200
LOOPBACK: Final = "127.0.0.1"

ApiRequest = tuple[list[str], list[str], int]  # paths, token, bytes of an answer


def product(folder: str, port: int, ready: Any) -> None:
    """The API over a SQLite read model of real histories."""
    from tests.api.harness import ApiHarness

    harness = ApiHarness(Path(folder))
    ids = [harness.harness.world.settled(f"bench-{number}") for number in range(PAYMENTS)]
    harness.harness.project()
    paths = [f"/api/payments/{each}" for each in ids]
    size = len(harness.get(paths[0], "operator").content)
    memory.freeze_heap()  # as the process does
    # One person per connection: the API limits the requests of each.
    tokens = [harness.token("operator", subject=f"ops_{number}") for number in range(CONNECTIONS)]
    ready.put((paths, tokens, size))
    _serve(harness.app, port)


def simplest(size: int, port: int, _: Any) -> None:
    """One route, no sign-in, no database: an answer of the same size."""
    app = FastAPI()
    answer = {"a": "x" * (size - 8)}

    @app.get("/api/payments/{payment_id}")
    async def payment(payment_id: str) -> dict[str, str]:
        return answer

    _serve(app, port)


def _serve(app: Any, port: int) -> None:
    uvicorn.run(app, host=LOOPBACK, port=port, log_config=None, access_log=False)


async def load(port: int, paths: list[str], tokens: list[str], seconds: float) -> list[float]:
    """Seconds of each request, over CONNECTIONS connections that ask without a pause."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        at = number
        while time.perf_counter() < until:
            path = paths[at % len(paths)]
            at += CONNECTIONS
            begun = time.perf_counter()
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
                f"Authorization: Bearer {tokens[number]}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return times


def _await_open(port: int) -> None:
    until = time.perf_counter() + START_S_MAX
    while time.perf_counter() < until:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")


def measure(seconds: float) -> dict[str, Any]:
    """Requests a second and latencies of both, the median of ROUNDS rounds in turns."""
    context = multiprocessing.get_context("spawn")
    started: list[Any] = []
    ready = context.Queue()

    def start(target: Callable[..., None], what: Any) -> int:
        port = free_ports(1)[0]
        process = context.Process(target=target, args=(what, port, ready), daemon=True)
        process.start()
        started.append(process)
        return port

    with tempfile.TemporaryDirectory() as folder:
        try:
            product_port = start(product, folder)
            requested: ApiRequest = ready.get(timeout=START_S_MAX)
            simple_port = start(simplest, requested[2])
            both = (("product", product_port, started[0]), ("simplest", simple_port, started[1]))
            found: dict[str, list[list[float]]] = {"simplest": [], "product": []}
            used = dict.fromkeys(found, 0.0)
            for _, port, _ in both:
                _await_open(port)
                asyncio.run(load(port, requested[0], requested[1], 1.0))  # warm
            for _ in range(ROUNDS):
                for name, port, process in both:
                    before = cpu_seconds(process.pid)
                    found[name].append(asyncio.run(load(port, requested[0], requested[1], seconds)))
                    used[name] += cpu_seconds(process.pid) - before
        finally:
            for process in started:
                process.terminate()
                process.join(10)
    return {name: figures(found[name], seconds, used[name]) for name in found} | {
        "answerBytes": requested[2]
    }


def figures(rounds: list[list[float]], seconds: float, used_s: float) -> dict[str, float]:
    """Rate and percentiles, the median round's."""
    rates = [len(times) / seconds for times in rounds]
    p99 = [sorted(times)[int(len(times) * 0.99)] for times in rounds]
    p50 = [statistics.median(times) for times in rounds]
    return {
        "perSecond": round(statistics.median(rates)),
        "perCpuSecond": round(sum(map(len, rounds)) / used_s),
        "p50Ms": round(statistics.median(p50) * 1_000, 2),
        "p99Ms": round(statistics.median(p99) * 1_000, 2),
    }


def main() -> None:
    parser = options_of("bench.api", __doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    result = measure(options.seconds)
    for name in ("perSecond", "perCpuSecond"):
        share = result["product"][name] / result["simplest"][name]
        result[f"share{name[0].upper()}{name[1:]}"] = round(share, 2)
    give(result, as_json=options.json)


if __name__ == "__main__":
    main()
