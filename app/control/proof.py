"""A proof of the log as a process makes it: run it, and publish that it passed."""

from __future__ import annotations

from pathlib import Path

import structlog

from app import rule_files
from app.cluster import Cluster
from app.control import operators
from app.exits import Problem
from control.act_signature import signed
from control.key_file import KeyFileError
from core.records import ProofPassed
from engine.errors import Exit
from evidence.keys import Keyring, read_keyring
from processors.replay import KafkaReplayLog, Limit, Report, Settings, verify
from processors.replay.reading import Progress
from schemas import catalogue
from schemas.codec.parties import open_parties
from schemas.topology import INPUTS

log = structlog.get_logger("npp.wiring")


def prove(
    cluster: Cluster,
    keyring: Keyring | None,
    show: Progress,
    *,
    payment: str | None = None,
    limit: Limit | None = None,
    from_checkpoint: bool = False,
    without: tuple[str, ...] = (),
) -> Report:
    """Run the replay. Raises Exit when the log cannot be read."""
    inputs = {topic.name for topic in catalogue.load().inputs()}
    return verify(
        KafkaReplayLog(cluster.connection, cluster.clock, cluster.control()[0].passed_over()),
        Settings(
            codec=cluster.codec,
            rules_of=rule_files.rules_of,
            open_parties=open_parties,
            payment=payment,
            limit=limit or Limit(),
            keyring=keyring,
            from_checkpoint=from_checkpoint,
            without=without,
            extra_inputs=tuple(sorted(inputs.difference(INPUTS))),
            progress=show,
        ),
        cluster.clock,
    )


def keyring_of(file: Path) -> Keyring | None:
    """The keyring in a file; None (signatures not checkable) when there is none."""
    if not file.exists():
        return None
    try:
        return read_keyring(file)
    except KeyFileError as error:
        raise Problem(f"The keyring cannot be used: {error}") from error


def publish_proof(cluster: Cluster, report: Report) -> list[str]:
    """A passed replay of every partition, for `npp control resume` to rest on; it names what it
    proved. Gives what to tell people. Raises Problem.
    """
    passed = {each.name for each in report.strengths() if each.verdict == "passed"}
    control, _ = cluster.control()
    key = operators.process_key(cluster.environment, operators.REPLAY)
    file = control.operators
    owner = None if file is None else file.owner(key.key_id)
    if control.cluster is None or owner is None:
        raise Problem(
            f"Key {key.key_id} is no process's in the operators file in force: the proof would "
            "not count.",
            do="List it under `processes` (`npp keys show`), or set NPP_PROCESS_KEY_FILE.",
        )
    now = cluster.clock.now_ms()
    proof = ProofPassed(
        scope=report.scope(),
        fold="fold" in passed,
        chain="chain" in passed,
        redecide="redecide" in passed,
        identity="identity" in passed,
        money="money" in passed,
        offsets=tuple(report.offsets),
        passed_at=now,
        actor=owner.id,
    )
    number = max(now, control.last_number(owner.id) + 1)
    placed = cluster.publish_control(
        signed(proof, key=key, cluster_id=control.cluster.cluster_id, number=number, signed_at=now)
    )
    return [
        f"proof published at control offset {placed.offset}",
        *(
            f"It does not prove {name}, which was not checkable: no stop ends by it."
            for name in sorted({"fold", "chain"} - passed)
        ),
    ]


def note_passed(cluster: Cluster, report: Report) -> None:
    """Publish it where that is possible; else the person who resumes proves by hand."""
    try:
        log.info("proof_published", said=publish_proof(cluster, report))
    except Problem as problem:
        log.exception("proof_not_published", why=problem.what, do=problem.do)


def stop_for_failed(cluster: Cluster, why: str, instance: str) -> None:
    """A failed proof is a STOP. Raises Exit when Kafka does not confirm it."""
    try:
        cluster.stop("PROOF_FAILED", why, instance)
    except Problem as problem:
        raise Exit("STOP_NOT_CONFIRMED", problem.what) from problem
