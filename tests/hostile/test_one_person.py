"""What a single person with a valid key cannot do alone, nor after their entry has
expired. SEC-02.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control.acts.operators_file import OperatorsFileError, parse
from control.in_force import Deployed
from core import control_records as records
from core.control_records import ActConfirmed
from core.values import PaymentIntentId
from tests.control.log import SOURCES, START_MS, ControlLog, rules
from tests.control.people import activated, file_text, key_of
from tests.hostile.test_admin_kafka_credential import changed, confirmations, requests


def by(person: str, records_: list[Any]) -> list[Any]:
    return [msgspec.structs.replace(each, actor=person) for each in records_]


def test_the_requester_cannot_confirm() -> None:
    """SEC-07."""
    log = ControlLog()
    offsets = [log.act(each) for each in requests(log)]
    for each in by("ann", confirmations(log, offsets)):
        log.act(each)
    assert not any(changed(log))
    assert set(log.broken) == {"SAME_PERSON"}


def test_two_people_can() -> None:
    """The same acts, confirmed by another person: so the test above can fail."""
    log = ControlLog()
    made = requests(log)[:5]
    offsets = [log.act(each) for each in made]
    for each in confirmations(log, offsets):
        log.act(each)
    assert changed(log) == [True, True, True, True, True, False, False, False]
    assert log.broken == []
    assert log.control.resumption(PaymentIntentId("pi_x"), 3) == ("ann", "bob")


def test_one_person_under_two_ids_is_refused_with_the_file() -> None:
    for twice in ("Ann", "ANN ", "ａｎｎ"):
        with pytest.raises(OperatorsFileError, match="twice"):
            parse(file_text("ann", twice))
    key = key_of("ann").public.hex()
    with pytest.raises(OperatorsFileError, match="another's"):
        parse(file_text("ann", lines=(f"  - {{id: zoe, roles: [admin], publicKeys: [{key}]}}",)))


def test_a_role_other_than_admin_signs_nothing() -> None:
    line = (
        f"  - {{id: olga, roles: [senior_operator], publicKeys: [{key_of('olga').public.hex()}]}}"
    )
    log = ControlLog(content=file_text("ann", "bob", lines=(line,)))
    for each in by("olga", requests(log)):
        log.act(each)
    assert set(log.broken) == {"ROLE"}


def test_an_expired_person_can_no_longer_act_and_earlier_acts_stay_valid() -> None:
    """By the append time of the record, whatever the signer's clock says."""
    until = "2027-01-15T08:05:00Z"  # 300 s after START_MS
    line = (
        f"  - {{id: fern, roles: [admin], publicKeys: [{key_of('fern').public.hex()}], "
        f"validUntil: {until}}}"
    )
    log = ControlLog(content=file_text("ann", "bob", lines=(line,)))
    requested = records.RedriveRequested(
        request_id="rdr_1", partition=0, offsets=(1,), reason="r", requested_at=0, actor="fern"
    )
    log.act(requested)
    assert log.broken == []
    log.now_ms = START_MS + 300_000
    late = msgspec.structs.replace(requested, request_id="rdr_2")
    log.act(late, at=START_MS + 299_000)
    assert log.broken == ["EXPIRED"]
    log.act(records.RedriveConfirmed(request_id="rdr_1", confirmed_at=0, actor="bob"))
    assert list(log.control.redrives.confirmed) == ["rdr_1"]


# -- rotation, version skew and loss of keys -------------------------------------------------------


def next_file(log: ControlLog, *persons: str, lines: tuple[str, ...] = ()) -> bytes:
    in_force = log.control.operators
    assert in_force is not None
    return file_text(
        *persons, number=in_force.number + 1, previous=in_force.sha256.hex(), lines=lines
    )


def rotate(log: ControlLog, content: bytes, first: str = "ann", second: str = "bob") -> None:
    offset = log.act(activated(content, actor=first))
    log.act(ActConfirmed(request_offset=offset, confirmed_at=0, actor=second))


def test_two_people_put_the_next_file_in_force_and_it_applies_to_later_acts() -> None:
    log = ControlLog("ann", "bob")
    rotate(log, next_file(log, "ann", "bob", "carl"))
    assert log.control.operators is not None
    assert log.control.operators.number == 2
    assert log.control.operators.person("carl") is not None
    requested = msgspec.structs.replace(rules(2), actor="carl")
    log.act(requested)
    assert log.broken == []
    assert [each.actor for _, each in log.control.requests()] == ["carl"]


def test_no_person_disappears_and_no_number_is_skipped() -> None:
    log = ControlLog("ann", "bob", "carl")
    rotate(log, next_file(log, "ann", "bob"))
    rotate(log, file_text("ann", "bob", "carl", number=3, previous=parse(log.content).sha256.hex()))
    rotate(log, file_text("ann", "bob", "carl", number=2, previous="00" * 32))
    assert log.broken == ["PERSON_VANISHED", "NUMBERS_ONLY_RISE", "NUMBERS_ONLY_RISE"]


def test_processes_with_the_old_and_the_new_file_agree_and_the_old_ones_then_stop() -> None:
    """During a roll-out a process with the next file accepts both. One that lacks the file in force
    takes no partition, and reports it.
    """
    log = ControlLog("ann", "bob")
    content = next_file(log, "ann", "bob", "carl")
    ahead = Deployed(parse(content), frozenset(), 1, SOURCES)
    assert log.control.ready() is None
    assert log.obeyer(ahead).ready() is None
    rotate(log, content)
    assert log.obeyer(ahead).ready() is None
    behind = log.control.ready()
    assert behind is not None
    assert "operators file 2" in behind
    assert log.control.stopped() == behind, "nor does it go on"
    without = log.obeyer(Deployed(None, frozenset(), 1, SOURCES)).ready()
    assert without is not None
    assert "NPP_OPERATORS_FILE" in without


def test_a_file_that_no_deployed_version_names_blocks_every_process() -> None:
    """The first writer on an empty topic writes their own keys."""
    honest = Deployed(parse(file_text("ann", "bob")), frozenset(), 1, SOURCES)
    log = ControlLog("mallory", "mallory-2", deployed=honest)
    held = log.control.ready()
    assert held is not None
    assert "deployed here" in held


def test_after_a_loss_of_keys_a_hash_configured_everywhere_allows_a_new_file() -> None:
    log = ControlLog("ann", "bob")
    content = next_file(log, "ann", "bob", "carl", "ada")
    unsigned = activated(content, actor="reset")
    log.put(unsigned)
    assert log.broken == ["UNSIGNED"]
    let_in = Deployed(parse(content), frozenset({parse(content).sha256}), 1, SOURCES)
    after = log.obeyer(let_in)
    assert after.operators is not None
    assert after.operators.number == 2
    assert after.ready() is None
    assert after.__dict__["rules_broken"] == ["OPERATORS_RESET"], "an alert"
    other = activated(next_file(log, "ann", "bob", "mallory"), actor="reset")
    log.put(other)
    assert log.obeyer(let_in).operators == after.operators
