"""What ends a STOP and what lets a damaged log continue: every process folds the same result.

Domain §10: two people and a replay that passed since; the sender is not trusted. SEC-03, OP-33.
"""

from __future__ import annotations

import msgspec
import pytest

from control.fold import Control
from core.control_records import (
    ClusterRecorded,
    ProcessingStopped,
    ProofPassed,
    RecoverConfirmed,
    RecoverRequested,
    ResumeConfirmed,
    ResumeRequested,
)
from core.recovery_point import RecoveryPoint
from tests.control.people import CLUSTER, Hands, activated

STOP = ProcessingStopped(
    stop_id="stp_1", reason="settled amounts look wrong", automatic=False, stopped_at=1, actor="ann"
)
PROOF = ProofPassed(
    scope="whole log",
    fold=True,
    chain=True,
    redecide=True,
    offsets=(9, 9),
    passed_at=2,
    actor="replay",
)


def folded(*records: object) -> Control:
    """The control topic with these records, after the records of two partitions."""
    control = Control(lambda topic, value: None)
    control.apply_record(
        0, ClusterRecorded(cluster_id=CLUSTER, partitions=2, recorded_at=0, actor="admin")
    )
    control.apply_record(0, activated())
    hands = Hands()
    for offset, record in enumerate(records, start=1):
        control.apply_record(offset, hands.in_turn(control, record))
    return control


def resume(proof: object, *, asks: str = "ann", agrees: str = "bob") -> Control:
    return folded(
        STOP,
        proof,
        ResumeRequested(
            stop_id="stp_1", proof_offset=2, reason="looked", requested_at=3, actor=asks
        ),
        ResumeConfirmed(stop_id="stp_1", request_offset=3, confirmed_at=4, actor=agrees),
    )


def test_two_people_and_a_later_proof_end_a_stop() -> None:
    assert folded(STOP).stopped() is not None
    assert resume(PROOF).stopped() is None


@pytest.mark.parametrize(
    "proof",
    [
        ProofPassed(
            scope="whole log",
            fold=True,
            chain=False,
            redecide=True,
            offsets=(9, 9),
            passed_at=2,
            actor="replay",
        ),
        ProofPassed(
            scope="whole log",
            fold=False,
            chain=True,
            redecide=True,
            offsets=(9, 9),
            passed_at=2,
            actor="replay",
        ),
        ProofPassed(
            scope="payment pi_1",
            fold=True,
            chain=True,
            redecide=True,
            offsets=(9,),
            passed_at=2,
            actor="replay",
        ),
        STOP,
    ],
    ids=["no chain", "no fold", "one partition", "no proof"],
)
def test_a_proof_without_full_fold_and_chain_ends_nothing(proof: object) -> None:
    assert resume(proof).stopped() is not None


def test_a_proof_from_the_last_good_checkpoint_is_accepted_with_its_scope() -> None:
    """Its scope says what was not checked, and both people see it."""
    proof = ProofPassed(
        scope="from the last good checkpoint: 0@5, 1@7",
        fold=True,
        chain=True,
        redecide=False,
        offsets=(9, 9),
        passed_at=2,
        actor="replay",
    )
    control = resume(proof)
    assert control.stopped() is None
    found = control.proof(2)
    assert found is not None
    assert msgspec.structs.replace(found, signature=None) == proof


def test_one_person_under_two_spellings_ends_nothing() -> None:
    assert resume(PROOF, asks="Ann ", agrees="ann").stopped() is not None


def test_a_proof_made_before_the_stop_ends_nothing() -> None:
    control = folded(
        PROOF,
        STOP,
        ResumeRequested(
            stop_id="stp_1", proof_offset=1, reason="looked", requested_at=3, actor="ann"
        ),
        ResumeConfirmed(stop_id="stp_1", request_offset=3, confirmed_at=4, actor="bob"),
    )
    assert control.stopped() is not None


ASKED = RecoverRequested(
    request_id="rec_1", partitions=(1,), reason="the disk is gone", requested_at=1, actor="ann"
)
AGREED = RecoverConfirmed(
    request_id="rec_1", confirmed_at=50, actor="bob", journal_ends=(-1, 7), checkpoints=(0, 3)
)


def test_two_people_let_a_partition_continue_where_its_log_ended() -> None:
    control = folded(ASKED, AGREED)
    assert control.recovery_points(1) == (RecoveryPoint(journal_end=7, checkpoint=3),)
    assert control.recovered_at(1) == 50
    assert control.recovery_points(0) == ()
    assert control.recovered_at(0) == 0


@pytest.mark.parametrize(
    "records",
    [
        (AGREED,),
        (
            ASKED,
            RecoverConfirmed(
                request_id="rec_1",
                confirmed_at=50,
                actor="ANN",
                journal_ends=(-1, 7),
                checkpoints=(0, 3),
            ),
        ),
        (
            ASKED,
            RecoverConfirmed(
                request_id="rec_1",
                confirmed_at=50,
                actor="bob",
                journal_ends=(5, 7),
                checkpoints=(0, 3),
            ),
        ),
        (ASKED, RecoverConfirmed(request_id="rec_1", confirmed_at=50, actor="bob")),
    ],
    ids=["not asked", "one person", "another partition", "no ends"],
)
def test_nothing_else_lets_it_continue(records: tuple[object, ...]) -> None:
    control = folded(*records)
    assert control.recovery_points(0) == control.recovery_points(1) == ()


def test_a_recovery_request_can_be_used_once() -> None:
    later = RecoverConfirmed(
        request_id="rec_1", confirmed_at=99, actor="bob", journal_ends=(-1, 2), checkpoints=(0, 9)
    )
    assert folded(ASKED, AGREED, later).recovery_points(1) == (
        RecoveryPoint(journal_end=7, checkpoint=3),
    )


FOUND = RecoverConfirmed(request_id="rec_1", confirmed_at=49, actor="bob", submissions=("N1", "N2"))


def test_recovered_submissions_are_known_before_and_after_the_confirmation() -> None:
    control = folded(ASKED, FOUND)
    assert control.found == {"N1", "N2"}
    assert control.recovery_points(1) == ()
    more = RecoverConfirmed(request_id="rec_1", confirmed_at=49, actor="bob", submissions=("N3",))
    control = folded(ASKED, FOUND, more, AGREED)
    assert control.found == {"N1", "N2", "N3"}
    assert control.recovery_points(1) == (RecoveryPoint(journal_end=7, checkpoint=3),)


@pytest.mark.parametrize(
    "records",
    [
        (FOUND,),
        (
            ASKED,
            RecoverConfirmed(
                request_id="rec_1", confirmed_at=49, actor="Ann ", submissions=("N1",)
            ),
        ),
        (ASKED, AGREED, FOUND),
    ],
    ids=["not asked", "one person", "confirmed already"],
)
def test_only_the_recovery_names_recovered_submissions(records: tuple[object, ...]) -> None:
    assert folded(*records).found == frozenset()


BATCH = RecoverRequested(
    request_id="rec_2",
    partitions=(4,),
    reason="it cannot be unpacked",
    requested_at=1,
    actor="ann",
    topic="t",
    first_offset=7,
    last_offset=9,
)
YES = RecoverConfirmed(request_id="rec_2", confirmed_at=50, actor="bob")


def test_two_people_pass_over_one_batch_and_nothing_else() -> None:
    """It is no recovery: no checkpoint is voided and no store discarded because of it."""
    more = msgspec.structs.replace(BATCH, request_id="rec_3", first_offset=20, last_offset=20)
    control = folded(BATCH, YES, more, msgspec.structs.replace(YES, request_id="rec_3"))
    assert control.passed_over() == {("t", 4): ((7, 9), (20, 20))}
    assert control.recoveries == {}
    assert control.recovery_points(4) == ()
    assert control.recovered_at(4) == 0
    assert control.recover_refusal(YES) == "it was confirmed already: ask again"


@pytest.mark.parametrize(
    "records",
    [
        (BATCH,),
        (YES,),
        (BATCH, msgspec.structs.replace(YES, actor="Ann ")),
        (BATCH, msgspec.structs.replace(YES, journal_ends=(-1, 7), checkpoints=(0, 3))),
        (BATCH, msgspec.structs.replace(YES, submissions=("N1",))),
        (msgspec.structs.replace(BATCH, partitions=(4, 5)), YES),
        (msgspec.structs.replace(BATCH, partitions=()), YES),
        (msgspec.structs.replace(BATCH, first_offset=-1), YES),
        (msgspec.structs.replace(BATCH, last_offset=6), YES),
        (ASKED, RecoverConfirmed(request_id="rec_1", confirmed_at=50, actor="bob")),
    ],
    ids=["not confirmed", "not asked", "one person", "recovers too", "finds too", "two partitions",
         "no partition", "no begin", "no end", "no batch"],
)  # fmt: skip
def test_nothing_else_passes_a_batch_over(records: tuple[object, ...]) -> None:
    control = folded(*records)
    assert control.passed_over() == {}
    assert control.found == frozenset()
