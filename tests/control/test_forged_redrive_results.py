"""A writer to the control topic claims that a redrive is done: only the redriver's own signature
ends a redrive, and nothing written before two people confirmed it counts (SEC-07, decision 17).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from control.acts.actors import REDRIVER
from core import control_records as records
from tests.control.log import ControlLog
from tests.control.people import key_of

NAME: Final = "rdr_1"
DONE: Final = records.RedriveDone(
    request_id=NAME, redriven=1, refused=None, done_at=0, actor=REDRIVER
)


def requested(log: ControlLog) -> None:
    log.act(
        records.RedriveRequested(
            request_id=NAME, partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        )
    )


def confirmed(log: ControlLog) -> None:
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
    "more than requested": (
        msgspec.structs.replace(DONE, redriven=2**31 - 1), REDRIVER, "MALFORMED",
    ),
    "of no request": (msgspec.structs.replace(DONE, request_id=" "), REDRIVER, "MALFORMED"),
    "a long text": (msgspec.structs.replace(DONE, refused="x" * 5_000), REDRIVER, "MALFORMED"),
    "of another request": (
        msgspec.structs.replace(DONE, request_id="rdr_2"), REDRIVER, "NOT_POSSIBLE",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("forged", "key", "rule"), FORGED.values(), ids=FORGED)
def test_a_result_not_signed_by_the_redriver_hides_no_confirmed_redrive(
    forged: Any, key: str | None, rule: str
) -> None:
    log = ControlLog()
    requested(log)
    confirmed(log)
    by(log, forged, key)
    assert log.broken == [rule]
    assert list(log.control.redrives.confirmed) == [NAME]
    assert log.control.redrives.done == {}


@pytest.mark.parametrize("key", [None, REDRIVER])
def test_a_redrive_reported_done_before_its_confirmation_is_carried_out(
    key: str | None,
) -> None:
    log = ControlLog()
    requested(log)
    by(log, DONE, key)
    confirmed(log)
    assert list(log.control.redrives.confirmed) == [NAME]


def test_the_redrivers_own_result_ends_it_once() -> None:
    log = ControlLog()
    requested(log)
    confirmed(log)
    log.act(DONE)
    confirmed(log)
    assert (log.control.redrives.confirmed, list(log.control.redrives.done)) == ({}, [NAME])
    log.act(msgspec.structs.replace(DONE, refused="no"))
    assert log.control.redrives.done[NAME].refused is None
