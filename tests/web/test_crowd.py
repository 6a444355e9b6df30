"""Pages at many payments: charts read minutes and counters, and lists read their page."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.clock import SystemClock
from tests.web.crowd import DAY_MINUTES, PARTITIONS, crowded
from tests.web.harness import Browser, PagesHarness
from web.live import WATCHERS_OF_ONE_MAX, Live

SERVER_MS_MAX = 100.0  # of CPU for a page, the best of LOOKS; the client's own is in it
REPORT_MS_MAX = 1_000.0  # of the page for a post-mortem, which asks after each payment concerned
LOOKS = 7
PAGE_BYTES_MAX = 300_000
WATCHERS = 200
TICKS = 3
PAGES = (
    *("/", "/payments", "/payments?state=FAILED", "/payments?attention=true", "/approvals"),
    *("/conflicts", "/proof", "/control", "/search?q=nothing"),
)
REPORTS = ("/incidents",)

# So many payments; the million takes minutes to make.
COUNTS = (
    pytest.param(30_000, marks=pytest.mark.slow),
    pytest.param(1_000_000, marks=[pytest.mark.release, pytest.mark.timeout(1_800)]),
)


@pytest.fixture(params=COUNTS, scope="module")
def crowd(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesHarness]:
    made = PagesHarness(tmp_path_factory.mktemp("crowd"))
    crowded(made, request.param)
    yield made
    made.close()


def best_ms(harness: PagesHarness, browser: Browser, path: str) -> tuple[float, int]:
    """CPU milliseconds of this process, and bytes, of a page whose figures are worked out anew."""
    took = []
    for _ in range(LOOKS):
        harness.pages_state().summary._made = None
        begun_s = time.process_time()
        answer = browser.get(path)
        took.append((time.process_time() - begun_s) * 1_000)
        assert answer.status_code == 200, answer.text
    return min(took), len(answer.content)


def test_each_page_takes_less_than_a_tenth_of_a_second_and_few_bytes(crowd: PagesHarness) -> None:
    """Whatever the number of payments."""
    browser = crowd.browser("olga")
    found = {path: best_ms(crowd, browser, path) for path in (*PAGES, *REPORTS)}
    for path, (millis, size) in found.items():
        sys.stderr.write(f"{path:30} {millis:7.1f} ms {size:9,} bytes\n")
    most = dict.fromkeys(PAGES, SERVER_MS_MAX) | dict.fromkeys(REPORTS, REPORT_MS_MAX)
    assert {p: ms for p, (ms, _) in found.items() if ms >= most[p]} == {}
    assert {p: size for p, (_, size) in found.items() if size >= PAGE_BYTES_MAX} == {}


def test_the_figures_are_those_of_every_minute_of_the_day(crowd: PagesHarness) -> None:
    """And of the harness's own two payments."""
    summary = crowd.get("vera", "/api/summary").json()
    created = sum(each["created"] for each in summary["throughput"])
    assert created == 60 * DAY_MINUTES * PARTITIONS
    assert len(summary["throughput"]) == DAY_MINUTES


def test_two_hundred_dashboards_cost_one_read_of_the_model_a_tick(crowd: PagesHarness) -> None:
    site = crowd.pages_state()
    drawn: list[float] = []

    def draw() -> Any:
        drawn.append(time.monotonic())
        return site.live._draw()

    live = Live(draw, SystemClock(), lambda: False)
    ticks = [0] * WATCHERS

    async def follow(number: int) -> None:
        person = f"person-{number // WATCHERS_OF_ONE_MAX}"
        async for chunk in live.watch(live.admit(person), 2**62):
            ticks[number] += chunk.startswith(b"event: tick")
            if ticks[number] == TICKS:
                return

    async def run() -> None:
        await asyncio.gather(*(follow(number) for number in range(WATCHERS)))

    asyncio.run(run())
    assert ticks == [TICKS] * WATCHERS
    assert TICKS <= len(drawn) <= TICKS + 1
