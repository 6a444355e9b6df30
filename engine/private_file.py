"""Files that hold a secret: new, and readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PRIVATE_FILE_MODE: Final = 0o600


def write_private(path: Path, content: bytes) -> None:
    """A new file, safe on the disk; never overwrites. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def rewrite_private(path: Path, content: bytes) -> None:
    """Like `write_private`, replacing an older file without inheriting its mode."""
    path.unlink(missing_ok=True)
    write_private(path, content)
