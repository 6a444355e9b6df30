"""Replay: prove a log by fold, chain, re-decide, identity and money.

`verify` is the job, `rebuild` one payment.
"""

from __future__ import annotations

from processors.replay.fold import rebuild
from processors.replay.job import Settings, verify
from processors.replay.log import KafkaReplayLog, MemoryLog, ReplayLog
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
    "rebuild",
    "verify",
]
