"""Secrets as files: NPP_X_FILE names the file that holds what NPP_X would. A container shows its
environment to anyone who may inspect it, and no mounted file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from app.exits import usage

SUFFIX: Final = "_FILE"
BYTES_MAX: Final = 65_536


def with_files_read(
    environ: Mapping[str, str], secrets: Collection[str], prefix: str
) -> dict[str, str]:
    """The environment with the content of such files, less the final line end, as the variables'
    values. `secrets`: the variables that may be given as files, besides all that begin with
    `prefix`.

    Raises Problem for a file that cannot be read, and for a secret that is given twice.
    """
    read = dict(environ)
    for name, path in environ.items():
        variable = name.removesuffix(SUFFIX)
        if variable == name or not (variable in secrets or variable.startswith(prefix)):
            continue
        del read[name]
        if path == "":
            continue
        if environ.get(variable):
            raise usage(f"{variable} and {name} are both set.", do="Set one of them.")
        read[variable] = _content(name, Path(path))
    return read


def _content(name: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            found = file.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise usage(
            f"{name}: {path} cannot be read: {type(error).__name__}.",
            do="Name a file that this process may read.",
        ) from None
    if len(found) > BYTES_MAX or not found.strip():
        raise usage(f"{name}: {path} is empty or too long for a secret.")
    return found.rstrip("\r\n")
