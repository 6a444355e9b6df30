"""mypyc over the modules named, in the working directory, each beside its source.

`--trained`: GCC compiles twice. The first library counts what runs while the benches train it, and
the second is laid out by that, so that the payment path has fewer instructions and fits the
processor's caches better. Functions that no bench runs are optimised as without. The language's
rules are the same, and so is every byte written. Another compiler compiles once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
from typing import Any, Final

from mypyc.build import mypycify
from setuptools import setup

# Else each call between compiled functions goes through a table, and none is inlined.
FLAGS: Final = ("-fvisibility=hidden",)
COUNTING: Final = ("-fprofile-generate",)
COUNTED: Final = (
    "-fprofile-use", "-fprofile-partial-training", "-fprofile-correction", "-Wno-missing-profile",
)  # fmt: skip
# Decisions, replay and projector.
TRAINING: Final = (
    ("bench.hot_path", "--once", "--payments", "3000"),
    ("bench.replay", "--payments", "200"),
    ("bench.projector", "--payments", "300"),
)
TRAINING_SECONDS_MAX: Final = 900


def main() -> None:
    parser = argparse.ArgumentParser(prog="python native/compile.py", description=__doc__)
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("options", help="mypy's configuration file")
    parser.add_argument("paths", nargs="+")
    asked = parser.parse_args()
    modules = mypycify(
        [f"--config-file={asked.options}", *asked.paths],
        opt_level="2",
        debug_level="0",
        group_name="npp",
    )
    own = [list(each.extra_compile_args) for each in modules]
    if not asked.trained or not is_gcc():
        compiled(modules, own, ())
        return
    compiled(modules, own, COUNTING)
    for module, *arguments in TRAINING:
        print(f"native: training by {module}", file=sys.stderr, flush=True)
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.DEVNULL,
            timeout=TRAINING_SECONDS_MAX,
            check=True,
        )
    compiled(modules, own, COUNTED)


def compiled(modules: list[Any], own: list[list[str]], flags: tuple[str, ...]) -> None:
    """Compile and link them with their own flags and these. Raises SystemExit with the compiler's
    error.
    """
    for each, before in zip(modules, own, strict=True):
        each.extra_compile_args = [*before, *FLAGS, *flags]
        each.extra_link_args = list(flags)
    setup(
        name="npp_native",
        packages=[],
        ext_modules=modules,
        script_args=["build_ext", "--inplace", "--force", "-q"],
    )


def is_gcc() -> bool:
    """Whether this Python's C compiler is GCC: others keep such counts in another way."""
    command = os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")
    done = subprocess.run(
        [*shlex.split(command), "--version"], capture_output=True, text=True, check=True
    )
    return "Free Software Foundation" in done.stdout


if __name__ == "__main__":
    main()
