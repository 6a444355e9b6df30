"""`make screenshots`: pictures of the pages of a running demo, into docs/pictures, and of pages at
their extremes, into build/pictures.

Small on purpose: 256 colours, device scale 1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from app.demo.run import AT_REST
from tests.rooms import ROOT
from tests.web.browser.people import ARGUMENTS, CHROMIUM, PHONE, WIDE
from tests.web.pictures import extremes

PICTURES = ROOT / "docs" / "pictures"
LOOK = ROOT / "build" / "pictures"  # not published: for authors of pages
LOAD = ("--payments", "300", "--rate", "8")
COLOURS = 256
SETTLE_MS = 3_000


def main() -> None:
    assert CHROMIUM is not None, "apt-get install chromium"
    folder = Path(tempfile.mkdtemp(prefix="npp-pictures-"))
    command = [sys.executable, "-m", "app.cli.npp", "demo", "--json", "--data", str(folder), *LOAD]
    demo = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        assert demo.stderr is not None
        ready = json.loads(demo.stdout.readline())
        for line in demo.stderr:
            if AT_REST in line:
                break
        take(ready)
    finally:
        demo.terminate()
        demo.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def take(ready: dict[str, Any]) -> None:
    """All pictures of a demo that is ready."""
    base = ready["dashboard"].rstrip("/")
    retried = first(ready, "/api/payments", limit="200", attempt="att_002")
    conflict = first(ready, "/api/conflicts")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        light = signed(browser, base, WIDE, dark=False)
        keep(light, base, "/", "dashboard")
        keep(light, base, f"/payments/{retried}", "payment")
        keep(light, base, f"/payments/{conflict}", "conflict")
        keep(signed(browser, base, WIDE, dark=True), base, "/", "dashboard-dark")
        keep(light, base, "/control", "control")
        keep(signed(browser, base, PHONE, dark=False), base, f"/payments/{conflict}", "phone")
        extremes.take(browser, partial(keep, folder=LOOK, whole=True))
        browser.close()


def first(ready: dict[str, Any], path: str, attempt: str = "", **query: str) -> str:
    """The first payment of a list, among those with this attempt."""
    headers = {"Authorization": f"Bearer {ready['tokens']['viewer']}"}
    items = httpx.get(ready["api"] + path, params=query, headers=headers).json()["items"]
    found = [each for each in items if not attempt or each["attemptId"] == attempt] or items
    name: str = found[0]["paymentIntentId"]
    return name


def signed(browser: Browser, base: str, size: ViewportSize, *, dark: bool) -> Page:
    context = browser.new_context(
        viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(f"{base}/sign-in")
    page.click("button[value=sue]")
    return page


def keep(
    page: Page, base: str, path: str, name: str, folder: Path = PICTURES, *, whole: bool = False
) -> None:
    """`whole`: the entire page, not only the window."""
    page.goto(base + path)
    page.wait_for_timeout(SETTLE_MS)
    if path == "/":  # a demo is young: its last hour shows more than its day
        page.get_by_role("button", name="1 hour").click()
    with Image.open(BytesIO(page.screenshot(full_page=whole))) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    small.save(file, optimize=True)
    print(f"{file} {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
