"""Whoever may write to the control topic says that a redrive is done: only the redriver's own
signature ends one, and nothing that is said before two persons agreed (SEC-07, decision 17).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from control.acts import REDRIVER
from core import records
from tests.control.log import ControlLog
from tests.control.people import key_of

NAME: Final = "rdr_1"
DONE: Final = records.RedriveDone(
    request_id=NAME, redriven=1, refused=None, done_at=0, actor=REDRIVER
)


def asked(log: ControlLog) -> None:
    log.act(
        records.RedriveRequested(
            request_id=NAME, partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        )
    )


def agreed(log: ControlLog) -> None:
    log.act(records.RedriveConfirmed(request_id=NAME, confirmed_at=0, actor="bob"))


def by(log: ControlLog, forged: Any, key: str | None) -> None:
    if key is None:
        log.put(forged)
    else:
        log.act(forged, key=key_of(key))


FORGED: Final[dict[str, tuple[Any, str | None, str]]] = {
    "unsigned": (DONE, None, "UNSIGNED"),
    "refused, unsigned": (msgspec.structs.replace(DONE, refused="no"), None, "UNSIGNED"),
    "by an admin": (DONE, "ann", "UNKNOWN_KEY"),
    "by an admin in her own name": (msgspec.structs.replace(DONE, actor="ann"), "ann", "ROLE"),
    "by the process that proves": (
        msgspec.structs.replace(DONE, actor="replay"), "replay", "ROLE",
    ),
    "by its key, in the redriver's name": (DONE, "replay", "UNKNOWN_KEY"),
    "fewer than none": (msgspec.structs.replace(DONE, redriven=-1), REDRIVER, "MALFORMED"),
    "more than were asked for": (
        msgspec.structs.replace(DONE, redriven=2**31 - 1), REDRIVER, "MALFORMED",
    ),
    "of no request": (msgspec.structs.replace(DONE, request_id=" "), REDRIVER, "MALFORMED"),
    "a long text": (msgspec.structs.replace(DONE, refused="x" * 5_000), REDRIVER, "MALFORMED"),
    "of another request": (
        msgspec.structs.replace(DONE, request_id="rdr_2"), REDRIVER, "NOT_POSSIBLE",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("forged", "key", "rule"), FORGED.values(), ids=FORGED)
def test_what_the_redriver_has_not_signed_hides_no_confirmed_redrive(
    forged: Any, key: str | None, rule: str
) -> None:
    log = ControlLog()
    asked(log)
    agreed(log)
    by(log, forged, key)
    assert log.broken == [rule]
    assert list(log.control.redrives_confirmed) == [NAME]
    assert log.control.redrives_done == {}


@pytest.mark.parametrize("key", [None, REDRIVER])
def test_a_redrive_that_is_said_to_be_done_before_it_is_confirmed_is_carried_out(
    key: str | None,
) -> None:
    log = ControlLog()
    asked(log)
    by(log, DONE, key)
    agreed(log)
    assert list(log.control.redrives_confirmed) == [NAME]


def test_the_redrivers_own_word_ends_it_once() -> None:
    log = ControlLog()
    asked(log)
    agreed(log)
    log.act(DONE)
    agreed(log)
    assert (log.control.redrives_confirmed, list(log.control.redrives_done)) == ({}, [NAME])
    log.act(msgspec.structs.replace(DONE, refused="no"))
    assert log.control.redrives_done[NAME].refused is None
