"""Exit codes of the command line, and problems as what happened, what it means, what to do."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of `npp`. 130 is Ctrl-C, as everywhere."""

    OK = 0
    FAILED = 1  # a check, a proof or a command was refused
    USAGE = 2  # the options or the settings cannot be used
    UNREACHABLE = 3  # Kafka, the schema registry or a gateway does not answer
    NOT_FOUND = 4  # the payment, stop or request named is not there
    UNKNOWN = 5  # no answer in the time allowed: it may still happen
    INTERRUPTED = 130


class Problem(Exception):
    """A problem a person can act on: `what` happened, what it `means`, what to `do`."""

    def __init__(
        self, what: str, *, means: str = "", do: str = "", code: ExitCode = ExitCode.FAILED
    ) -> None:
        super().__init__(what)
        self.what = what
        self.means = means
        self.do = do
        self.code = code

    def document(self) -> dict[str, Any]:
        """The problem for a program; the API's own refusals are given as they came."""
        fields = {"sentence": self.what, "means": self.means, "advice": self.do}
        return {"code": self.code.name} | {name: text for name, text in fields.items() if text}


def usage(what: str, do: str = "") -> Problem:
    """A problem with options or settings."""
    return Problem(what, do=do, code=ExitCode.USAGE)
