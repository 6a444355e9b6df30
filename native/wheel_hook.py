"""The build hook by which hatch makes a wheel: with NPP_BUILD_NATIVE=1 the wheel has the compiled
build, for this Python and machine only; otherwise it has the sources.

The compiler comes from the environment in which the wheel is made (`make wheel`), with the locked
versions: hatch installs no packages for this hook.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE: Final = "NPP_BUILD_NATIVE"
# Read beside the rooms: by `schemas.catalogue`, and by the API, which serves the alerts' pages.
BESIDE_THE_ROOMS: Final = ("topics.yaml", "docs/runbook.md", "docs/runbook")


class NativeWheelHook(BuildHookInterface[Any]):
    """Named in pyproject.toml, [tool.hatch.build.targets.wheel.hooks.custom]."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is made. Raises CalledProcessError when a module does not compile."""
        if version == "editable":
            return
        included: dict[str, str] = build_data["force_include"]
        included |= {str(Path(self.root) / name): name for name in BESIDE_THE_ROOMS}
        if os.environ.get(VARIABLE) != "1":
            return
        sys.path.insert(0, self.root)
        build = import_module("native.build")
        # Not below the root: hatch then takes these files in place of the sources' own.
        self._made = TemporaryDirectory(prefix="npp-wheel-")
        folder = Path(self._made.name)
        build.tree(folder / "tree")
        build.compile_in(folder / "tree", [*build.HOT, *build.COMPILED])
        included |= files_of(folder / "tree", self.build_config.target_config["packages"])
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After the wheel is made."""
        if hasattr(self, "_made"):
            self._made.cleanup()


def files_of(tree: Path, rooms: list[str]) -> dict[str, str]:
    """The wheel's files and their places in it: the rooms, and the library of all compiled
    modules, which is beside them.
    """
    found = [each for room in rooms for each in (tree / room).rglob("*")] + list(tree.glob("*.so"))
    return {
        str(each): each.relative_to(tree).as_posix()
        for each in found
        if each.is_file() and "__pycache__" not in each.parts
    }
