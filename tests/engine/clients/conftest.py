"""Readers whose clients are doubles."""

from __future__ import annotations

import pytest

import engine.clients.assigned_reader
from tests.clock import HeldClock
from tests.engine.clients.doubles import FakeConsumer


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> tuple[HeldClock, list[FakeConsumer]]:
    clock = HeldClock(0)
    FakeConsumer.made = []
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", FakeConsumer)
    monkeypatch.setattr(engine.clients.assigned_reader, "SystemClock", lambda: clock)
    return clock, FakeConsumer.made
