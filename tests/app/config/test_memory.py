"""How a process keeps its memory small, seen in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from app.config.memory import GC_THRESHOLDS

THREADS = 12
# Each thread allocates while the others wait, so a thread that may have an arena gets one.
CHILD = f"""
import ctypes, gc, threading
from app.config import memory
{{call}}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
meet = threading.Barrier({THREADS})
def allocate():
    meet.wait()
    libc.malloc(100)
    meet.wait()
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def arenas(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(call=call)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_many_threads_share_two_arenas() -> None:
    assert arenas("pass") > 2, "the machine shows no difference"
    assert arenas("memory.limit_arenas()") == 2


def test_what_the_start_has_made_is_frozen() -> None:
    child = (
        "import gc; from app.config import memory; memory.freeze_heap(); "
        "print(gc.get_freeze_count() > 0, gc.get_threshold())"
    )
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == f"True {GC_THRESHOLDS}"
