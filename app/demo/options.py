"""Options of a demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """`rate` in records per second, 0 = full speed; `seed` of load, behaviour and people.

    `api_port` 0 is a free one; `behaviour` of the simulators; `more` are further NPP_* variables
    of all processes; `pager`: where Alertmanager posts alerts, "" when it only shows them.
    """

    payments: int
    rate: float
    once: bool
    chaos: bool
    json: bool
    reset: bool
    data: Path
    seed: int
    api_port: int = 0
    behaviour: str = "mixed"
    more: Mapping[str, str] = {}
    pager: str = ""
