"""The types of the records' fields: core.closed_sets to the type checker, `str` at run time.

So no decoder checks a value again, and none refuses a record of a later release: the first check of
`decide` refuses an input's value that is in no set. Compiled code reads a plain text too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.closed_sets import *  # noqa: F403
else:
    from core import closed_sets

    def __getattr__(name: str) -> type[str]:
        """`str` for each of the sets. Raises AttributeError for any other name."""
        if name.startswith("_") or not hasattr(closed_sets, name):
            raise AttributeError(f"core.closed_sets has no {name}")
        return str
