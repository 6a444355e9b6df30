"""How a process keeps its memory small: the C library's allocator and the garbage collector.

docs/performance.md has what was measured.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# Decisions make many small values and no reference cycles, so collections may be rare. What the
# start made is frozen, and open payments are bytes, so a full collection takes milliseconds and
# need not be put off for days.
GC_THRESHOLDS: Final = (50_000, 10, 10)
# glibc's mallopt. By default there are up to eight arenas per core, each keeps the memory that its
# threads freed, and a process here has dozens of threads.
_ARENA_MAX: Final = (-8, 2)
_TRIM_THRESHOLD: Final = (-1, 128 * 1024)
_MMAP_THRESHOLD: Final = (-3, 128 * 1024)


def limit_arenas() -> None:
    """Bound what glibc's allocator keeps; call it before threads start. No effect with another C
    library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in (_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(name, value)


def freeze_heap() -> None:
    """Exclude everything allocated so far from later collections, and make these rare."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
