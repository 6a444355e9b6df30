"""Proves a recorded history with today's code, in every strength, without a broker."""

from __future__ import annotations

from app import rule_files
from evidence.keys import Keyring
from processors.replay import Report, Settings, verify
from processors.replay.checkpointed import NO_CHECKPOINTS
from schemas.codec.parties import open_parties
from tests.histories.file import Recording, log_of
from tests.histories.registry import codec_of


def prove(recording: Recording) -> Report:
    """The report of `npp replay verify` on the log."""
    ring = Keyring()
    for key in recording.keys:
        ring.add(key, 0)
    settings = Settings(
        codec=codec_of(recording.schemas),
        rules_of=rule_files.rules_of,
        open_parties=open_parties,
        keyring=ring,
    )
    return verify(log_of(recording), settings)


def counted(report: Report) -> dict[str, int]:
    """The counts of a proof: a later one must cover as much, or it proves less."""
    inputs = report.inputs
    return {
        "payments": report.fold.payments,
        "events": report.fold.events,
        "lifecycle": report.fold.checked,
        "chains": report.chain.checked,  # with the checkpoints
        "redecided": report.redecide.checked,
        "identity": report.identity.checked,
        "money": report.money.checked,
        "inputs": inputs.read,
        "byOutcome": inputs.by_outcome,
        "quarantined": inputs.by_quarantine,
        "pending": inputs.pending,
    }


def problems(recording: Recording, report: Report) -> list[str]:
    """Why this proof is incomplete; empty if it is complete."""
    found = [
        f"{each.name}: {failure.sentence()}"
        for each in report.strengths()
        for failure in each.failures
    ]
    for each in report.strengths():
        found += [f"{each.name} is {each.verdict}"] * (each.verdict != "passed")
        found += [
            f"{each.name}: not checkable: {why}"
            for why in sorted(each.not_checkable)
            if why != NO_CHECKPOINTS  # a partition without a payment has none
        ]
    if recording.expected:
        now = counted(report)
        found += [
            f"{name} is {now.get(name)}, recorded was {count}"
            for name, count in recording.expected.items()
            if now.get(name) != count
        ]
    return found
