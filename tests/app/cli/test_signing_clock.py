"""Domain §4: nothing is signed with a wrong clock, except a STOP, which every process obeys."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any, cast

import pytest

from app.cli import signing
from app.cli.api_client import Api, Call, Reply
from app.cluster import Cluster
from app.exits import Problem
from control.fold import Control
from core.control_records import ProcessingStopped, ResumeConfirmed
from engine.clients.publisher import Placed
from schemas.topology import CONTROL
from tests.control.log import CODEC, ControlLog
from tests.control.people import key_of

OFF_S = (-3_600, -90, 90, 3_600)
ANN = {"id": "ann", "keyIds": [key_of("ann").key_id], "lastNumber": 0}
SHOWN: dict[str, Any] = {"clusterId": "c", "operators": {"persons": [ANN]}, "requests": []}


class Answering:
    """An API whose clock is that many seconds behind ours."""

    def __init__(self, behind_s: float) -> None:
        self._date = formatdate(time.time() - behind_s, usegmt=True)

    def ask(self, _call: Call) -> Reply:
        return Reply(200, SHOWN, b"", {"date": self._date})


def by_api(behind_s: float) -> signing.SigningContext:
    return signing.of_api(cast(Api, Answering(behind_s)))


def by_topic(behind_s: float) -> signing.SigningContext:
    """A control topic whose last record was appended at that time."""
    log = ControlLog()
    log.now_ms = int((time.time() - behind_s) * 1_000)
    control = Control(CODEC.decode, deployed=log.deployed)
    for offset, (value, _) in enumerate(log.written):
        control.apply(offset, value, log.now_ms)
    return signing.of_control(control)


def signer_of(requested: signing.SigningContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "open_key", lambda *_: key_of("ann"))
    signing.signer_of(requested, "ann", None)


@pytest.mark.parametrize("off_s", OFF_S)
def test_a_clock_that_differs_from_the_apis_signs_nothing(
    monkeypatch: pytest.MonkeyPatch, off_s: int
) -> None:
    with pytest.raises(Problem, match=r"This clock is \d+ s (ahead of|behind) theirs"):
        signer_of(by_api(off_s), monkeypatch)


def test_a_clock_behind_the_brokers_last_record_signs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Problem, match="behind theirs: nothing is signed"):
        signer_of(by_topic(-90), monkeypatch)
    signer_of(by_topic(86_400), monkeypatch)  # no record for a day


def test_an_accurate_clock_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    for off_s in (0, 30, -30):
        assert abs(by_api(off_s).off_ms) < 60_000
        signing.require_clock(by_api(off_s).off_ms)
    monkeypatch.setattr(signing, "open_key", lambda *_: key_of("ann"))
    assert signing.signer_of(by_topic(0), "ann", None).person == "ann"


def test_a_stop_is_signed_by_any_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "open_key", lambda *_: key_of("ann"))
    assert signing.signer_for_stop(by_topic(-3_600), "ann", None).person == "ann"


def test_a_signature_too_far_from_the_brokers_time_is_reported_as_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The append time reveals a clock that is ahead of a quiet topic."""
    log = ControlLog()
    act = log.sign(ResumeConfirmed(stop_id="s", request_offset=1, confirmed_at=0, actor="ann"))
    stop = log.sign(
        ProcessingStopped(stop_id="s", reason="r", automatic=False, stopped_at=0, actor="ann")
    )
    cluster: Any = Cluster.__new__(Cluster)
    appended = act.signature.signed_at - 601_000
    monkeypatch.setattr(Cluster, "publish", lambda *_: Placed(CONTROL, 0, 7, appended))
    with pytest.raises(Problem, match="601000 ms off the broker's time: no process accepts it"):
        cluster.publish_control(act)
    assert cluster.publish_control(stop).offset == 7
    monkeypatch.setattr(Cluster, "publish", lambda *_: Placed(CONTROL, 0, 7, appended + 2_000))
    assert cluster.publish_control(act).offset == 7
