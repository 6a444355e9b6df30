"""What ends a STOP and what lets a damaged log go on: folded alike by everybody who obeys.

Domain §10: two persons and a replay that passed since; nobody trusts the sender. SEC-03, OP-33.
"""

from __future__ import annotations

import msgspec
import pytest

from control.fold import Control
from core.records import (
    ClusterRecorded,
    ProcessingStopped,
    ProofPassed,
    RecoverConfirmed,
    RecoverRequested,
    ResumeConfirmed,
    ResumeRequested,
)
from core.recovery_point import RecoveryPoint

STOP = ProcessingStopped("stp_1", "settled amounts look wrong", False, 1, "ann")
PROOF = ProofPassed("whole log", True, True, True, (9, 9), 2, "replay")


def folded(*records: object) -> Control:
    """The control topic with these records, two partitions recorded before them."""
    control = Control(lambda topic, value: None)
    control.apply_record(0, ClusterRecorded("c", 2, 0, "admin"))
    for offset, record in enumerate(records, start=1):
        control.apply_record(offset, record)
    return control


def resume(proof: object, *, asks: str = "ann", agrees: str = "bob") -> Control:
    return folded(
        STOP,
        proof,
        ResumeRequested("stp_1", 2, "looked", 3, asks),
        ResumeConfirmed("stp_1", 3, 4, agrees),
    )


def test_two_persons_and_a_proof_since_end_a_stop() -> None:
    assert folded(STOP).stopped() is not None
    assert resume(PROOF).stopped() is None


@pytest.mark.parametrize(
    "proof",
    [
        ProofPassed("whole log", True, False, True, (9, 9), 2, "replay"),
        ProofPassed("whole log", False, True, True, (9, 9), 2, "replay"),
        ProofPassed("payment pi_1", True, True, True, (9,), 2, "replay"),
        STOP,
    ],
    ids=["no chain", "no fold", "one partition", "no proof"],
)
def test_a_proof_that_does_not_cover_fold_and_chain_everywhere_ends_nothing(proof: object) -> None:
    assert resume(proof).stopped() is not None


def test_a_proof_from_the_last_good_checkpoint_serves_and_keeps_its_scope() -> None:
    """Its scope says what was not judged; both persons are shown it."""
    proof = ProofPassed(
        "from the last good checkpoint: 0@5, 1@7", True, True, False, (9, 9), 2, "r"
    )
    control = resume(proof)
    assert control.stopped() is None
    assert control.proof(2) == proof


def test_one_person_under_two_spellings_ends_nothing() -> None:
    assert resume(PROOF, asks="Ann ", agrees="ann").stopped() is not None


def test_a_proof_made_before_the_stop_ends_nothing() -> None:
    control = folded(
        PROOF, STOP, ResumeRequested("stp_1", 1, "looked", 3, "ann"),
        ResumeConfirmed("stp_1", 3, 4, "bob"),
    )  # fmt: skip
    assert control.stopped() is not None


ASKED = RecoverRequested("rec_1", (1,), "the disk is gone", 1, "ann")
AGREED = RecoverConfirmed("rec_1", 50, "bob", (-1, 7), (0, 3))


def test_two_persons_let_a_partition_go_on_where_its_log_ended() -> None:
    control = folded(ASKED, AGREED)
    assert control.recovery_points(1) == (RecoveryPoint(7, 3),)
    assert control.recovered_at(1) == 50
    assert control.recovery_points(0) == ()
    assert control.recovered_at(0) == 0


@pytest.mark.parametrize(
    "records",
    [
        (AGREED,),
        (ASKED, RecoverConfirmed("rec_1", 50, "ANN", (-1, 7), (0, 3))),
        (ASKED, RecoverConfirmed("rec_1", 50, "bob", (5, 7), (0, 3))),
        (ASKED, RecoverConfirmed("rec_1", 50, "bob")),
    ],
    ids=["not asked", "one person", "another partition", "no ends"],
)
def test_nothing_else_lets_it_go_on(records: tuple[object, ...]) -> None:
    control = folded(*records)
    assert control.recovery_points(0) == control.recovery_points(1) == ()


def test_a_request_to_recover_serves_once() -> None:
    later = RecoverConfirmed("rec_1", 99, "bob", (-1, 2), (0, 9))
    assert folded(ASKED, AGREED, later).recovery_points(1) == (RecoveryPoint(7, 3),)


FOUND = RecoverConfirmed("rec_1", 49, "bob", submissions=("N1", "N2"))


def test_what_a_recovery_found_is_known_before_it_is_confirmed_and_after() -> None:
    control = folded(ASKED, FOUND)
    assert control.found == {"N1", "N2"}
    assert control.recovery_points(1) == ()
    more = RecoverConfirmed("rec_1", 49, "bob", submissions=("N3",))
    control = folded(ASKED, FOUND, more, AGREED)
    assert control.found == {"N1", "N2", "N3"}
    assert control.recovery_points(1) == (RecoveryPoint(7, 3),)


@pytest.mark.parametrize(
    "records",
    [
        (FOUND,),
        (ASKED, RecoverConfirmed("rec_1", 49, "Ann ", submissions=("N1",))),
        (ASKED, AGREED, FOUND),
    ],
    ids=["not asked", "one person", "confirmed already"],
)
def test_nobody_else_says_what_was_found(records: tuple[object, ...]) -> None:
    assert folded(*records).found == frozenset()


BATCH = RecoverRequested("rec_2", (4,), "it cannot be unpacked", 1, "ann", "t", 7, 9)
YES = RecoverConfirmed("rec_2", 50, "bob")


def test_two_persons_pass_over_one_batch_and_nothing_else() -> None:
    """Issue 10.14: no recovery, no ground of a checkpoint, no store that is discarded for it."""
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
        (BATCH, RecoverConfirmed("rec_2", 50, "Ann ")),
        (BATCH, RecoverConfirmed("rec_2", 50, "bob", (-1, 7), (0, 3))),
        (BATCH, RecoverConfirmed("rec_2", 50, "bob", submissions=("N1",))),
        (msgspec.structs.replace(BATCH, partitions=(4, 5)), YES),
        (msgspec.structs.replace(BATCH, partitions=()), YES),
        (msgspec.structs.replace(BATCH, first_offset=-1), YES),
        (msgspec.structs.replace(BATCH, last_offset=6), YES),
        (ASKED, RecoverConfirmed("rec_1", 50, "bob")),
    ],
    ids=["not confirmed", "not asked", "one person", "recovers too", "finds too", "two partitions",
         "no partition", "no begin", "no end", "no batch"],
)  # fmt: skip
def test_nothing_else_passes_a_batch_over(records: tuple[object, ...]) -> None:
    control = folded(*records)
    assert control.passed_over() == {}
    assert control.found == frozenset()
