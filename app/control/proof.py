"""Runs a proof of the log, and publishes that it passed."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec
import structlog

from app import logs, rule_files
from app.cluster import Cluster
from app.config.settings import Environment
from app.control import operators
from app.exits import Problem
from control.acts.act_signature import signed
from control.acts.key_file import KeyFileError
from core.control_records import ProofPassed
from engine.errors import Exit
from evidence.keys import Keyring, ListedKey, SchemaStatement, read_keyring
from processors.replay import KafkaReplayLog, Limit, Report, Settings, Workers, verify
from processors.replay.parts.workers import WORKERS_MAX
from processors.replay.reading import Progress
from schemas import catalogue
from schemas.codec.parties import open_parties
from schemas.topology import INPUTS

log = structlog.get_logger("npp.wiring")


class ProofRequest(msgspec.Struct, frozen=True):
    """What is to be proven."""

    payment: str | None = None
    limit: Limit = Limit()
    from_checkpoint: bool = False
    without: tuple[str, ...] = ()


def prove(
    cluster: Cluster,
    keyring: Keyring | None,
    show: Progress,
    requested: ProofRequest | None = None,
    workers: int | None = None,
) -> Report:
    """Run the replay, with at most `workers` processes; None or 0: as the settings say.

    Raises Exit if the log cannot be read, or one of these processes ends early.
    """
    requested = requested or ProofRequest()
    keys = None if keyring is None else (keyring.listed(), keyring.schemas())
    count = workers or cluster.environment.settings.replay_workers or cores()
    opens = functools.partial(opened, cluster.environment, keys, requested)
    log, settings = _opened(cluster, keyring, requested, show)
    return verify(log, settings, cluster.clock, Workers(min(count, WORKERS_MAX), opens))


def cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def opened(
    environment: Environment,
    keys: tuple[tuple[ListedKey, ...], tuple[SchemaStatement, ...]] | None,
    requested: ProofRequest,
) -> tuple[KafkaReplayLog, Settings]:
    """The log and settings of one of several processes. Raises Exit if the log cannot be read."""
    logs.for_commands()
    try:
        cluster = Cluster(environment)
        return _opened(cluster, None if keys is None else Keyring(*keys), requested, None)
    except Problem as problem:
        raise Exit("CLUSTER_NOT_READ", f"{problem.what} {problem.do}") from problem


def _opened(
    cluster: Cluster, keyring: Keyring | None, requested: ProofRequest, show: Progress | None
) -> tuple[KafkaReplayLog, Settings]:
    inputs = {topic.name for topic in catalogue.load().inputs()}
    log = KafkaReplayLog(cluster.connection, cluster.clock, cluster.control()[0].passed_over())
    return log, Settings(
        codec=cluster.codec,
        rules_of=rule_files.rules_of,
        open_parties=open_parties,
        payment=requested.payment,
        limit=requested.limit,
        keyring=keyring,
        from_checkpoint=requested.from_checkpoint,
        without=requested.without,
        extra_inputs=tuple(sorted(inputs.difference(INPUTS))),
        progress=show,
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
    """Publish a passed replay of every partition, with what it proved; `npp control resume` refers
    to it. Returns lines for people. Raises Problem.
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
    """Publish the proof. If that fails it is logged: the person who resumes then proves by hand."""
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
