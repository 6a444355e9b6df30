"""Replay: prove a log by fold, chain, re-decide, identity and money.

`verify` proves a whole log or one payment; `rebuild` folds the events of one payment.
"""

from __future__ import annotations

from processors.replay.fold import rebuild
from processors.replay.job import verify
from processors.replay.log import KafkaReplayLog, MemoryLog, ReplayLog
from processors.replay.parts.scope import Settings
from processors.replay.parts.workers import Workers
from processors.replay.prove import Limit
from processors.replay.reading import Progress
from processors.replay.report import Failure, PaymentView, Report, Strength

__all__ = [
    "Failure",
    "KafkaReplayLog",
    "Limit",
    "MemoryLog",
    "PaymentView",
    "Progress",
    "ReplayLog",
    "Report",
    "Settings",
    "Strength",
    "Workers",
    "rebuild",
    "verify",
]
