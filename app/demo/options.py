"""Options of a demo."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """`rate` in records per second, 0 = full speed; `seed` of load, behaviour and people."""

    payments: int
    rate: float
    once: bool
    chaos: bool
    json: bool
    reset: bool
    data: Path
    seed: int
