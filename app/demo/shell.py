"""What a person's own shell needs to work with the running demo, as a file to evaluate: the path to
`npp`, the data folder, the API's address, and a token for each role.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.private_file import rewrite_private

FILE: Final = "demo.sh"


def write_shell_file(data: Path, api: str, tokens: Mapping[str, str]) -> str:
    """Write `demo.sh`, which only its owner can read; returns the line that loads it in a shell."""
    variables = {
        "NPP_DATA_DIR": str(data),
        "NPP_API_URL": api,
        **{role.upper(): token for role, token in tokens.items()},
    }
    lines = [
        "# Written by a running demo, and deleted when it ends.",
        f'export PATH={shlex.quote(str(_programs()))}:"$PATH"',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
    ]
    path = data / FILE
    rewrite_private(path, "".join(f"{line}\n" for line in lines).encode())
    return f'eval "$(cat {shlex.quote(str(path))})"'


def npp() -> str:
    """How this person calls `npp`: by name where their shell finds it, else by its path."""
    found = shutil.which("npp")
    own = _programs() / "npp"
    return "npp" if found and Path(found).samefile(own) else shlex.quote(str(own))


def _programs() -> Path:
    return Path(sys.executable).parent
