"""mypyc over the modules named, in the working directory, each beside its source."""

from __future__ import annotations

import os
import sys

from mypyc.build import mypycify
from setuptools import setup


def main() -> None:
    options, *paths = sys.argv[1:]
    optimise = os.environ.get("NPP_NATIVE_OPTIMISE", "2")
    modules = mypycify(
        [f"--config-file={options}", *paths],
        opt_level=optimise,
        debug_level="0",
        group_name="npp",
    )
    for each in modules:
        # Else each call between compiled functions goes through a table, and none is inlined.
        each.extra_compile_args = [*each.extra_compile_args, "-fvisibility=hidden"]
    setup(
        name="npp_native",
        packages=[],
        ext_modules=modules,
        script_args=["build_ext", "--inplace", "-q"],
    )


if __name__ == "__main__":
    main()
