"""Makes packs a few at a time, and turns the errors of the evidence room into problems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

import structlog

from api.edge.problems import Problem, invalid, payment_not_found, unavailable
from control.acts.key_file import KeyFileError
from engine.errors import EngineError
from evidence.packs.pack import Tampered, TooLong
from evidence.packs.service import NotYet
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("npp.api")

THREADS_MAX: Final = 4  # a pack takes half a second at most; reads continue meanwhile
WAITING_MAX: Final = 64
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Threads:
    """Packs are made a few at a time; used from event loops."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="npp-evidence")
        self._waiting = 0

    async def run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run blocking `work(*arguments)`. Raises Problem: 503 when too many wait, and what `work`
        could not do.
        """
        if self._waiting >= WAITING_MAX:
            raise unavailable("TOO_MANY_PACKS", "Too many evidence packs are already being made.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, with_problems, partial(work, *arguments))
        finally:
            self._waiting -= 1


making: Final = Threads()


def with_problems(work: Callable[[], T]) -> T:
    """The result of `work`. Raises Problem for the errors of the evidence room."""
    try:
        return work()
    except KeyError:
        raise payment_not_found() from None
    except NotYet as error:
        raise unavailable("READ_MODEL_BEHIND", f"Not yet: {error}.") from None
    except TooLong as error:
        raise Problem(413, "TOO_LARGE", "PACK_TOO_LONG", str(error)) from None
    except Tampered as error:
        raise broken(error.kind, error.place, error.sentence) from None
    except (EngineError, TimeoutError) as error:
        raise unavailable("LOG_DOWN", "The log does not answer; try again later.") from error
    except (RegistryDown, Undecodable) as error:
        raise unavailable(
            "SCHEMA_UNKNOWN", "A schema is not available; try again later."
        ) from error
    except KeyFileError as error:
        raise unavailable("KEYRING", "The verifier's keyring cannot be read.") from error
    except ValueError as error:
        raise invalid("asOf", f"cannot be met: {error}") from None


def broken(kind: str, place: str, sentence: str, **more: Any) -> Problem:
    """500: the bytes do not verify, so no pack is made. Writes a critical log line."""
    log.critical("evidence_broken", kind=kind, place=place, **more)
    words = f"No pack is returned: {place}: {sentence}."
    return Problem(500, "EVIDENCE_BROKEN", kind, words, **more)


def not_found_named(name: str) -> Problem:
    """404 that names which of several payments is unknown."""
    found = payment_not_found()
    return Problem(
        found.status, found.code, found.rule, f"{found.sentence} {name}", paymentIntentId=name
    )
