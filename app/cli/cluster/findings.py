"""What a check of `npp doctor` says."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True):
    """One check's result. `do` says what helps."""

    check: str
    level: Level
    says: str
    do: str = ""
