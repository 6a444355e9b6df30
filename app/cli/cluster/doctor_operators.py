"""`npp doctor`: the operators file of this machine, as those who obey it would judge it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from app.cli.cluster.findings import Finding, Level
from app.cluster import Cluster
from app.config.settings import Environment, Profile
from app.control import operators
from control.acts.actors import REDRIVER
from control.acts.operators_file import Entry, Operators
from control.acts.roles import ADMIN
from control.fold import Control
from engine.clock import MS_PER_S

DAY_MS: Final = 86_400_000
SOON_DAYS: Final = 30  # enough to make a file, have it signed, and deploy it everywhere
ADMINS_MIN: Final = 2  # the requester does not confirm
CHECK: Final = "operators"
NEXT: Final = (
    "put the next file in force while two can sign: docs/runbook.md, Keys and the operators file"
)


def check_operators(environment: Environment) -> Iterator[Finding]:
    """Is it there, whose is it, is it the one in force, and can two people sign, also next
    month?
    """
    path = environment.operators_file()
    if path is None:
        level: Level = "failed" if environment.settings.profile is Profile.PRODUCTION else "warning"
        yield Finding(
            CHECK, level, "no operators file: no act can be verified",
            "NPP_OPERATORS_FILE names it; demo and test make one by `npp topics apply`",
        )  # fmt: skip
        return
    file = operators.read(path)
    cluster = Cluster(environment)
    if environment.settings.profile is Profile.PRODUCTION:
        yield from without_an_end(file)
    yield from of_file(path, file, cluster.clock.now_ms())
    yield of_control(file, cluster.control()[0])


def of_file(path: Path, file: Operators, now_ms: int) -> Iterator[Finding]:
    """Findings about the file itself."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            CHECK, "failed", f"{path} can be written by others than its owner ({mode:04o})",
            f"chmod 644 {path}: whoever can write it decides who may act",
        )  # fmt: skip
    for each in (*file.persons, *file.processes):
        if each.valid_until is not None:
            yield from _time_of(each, each.valid_until, now_ms, is_person=each in file.persons)
    for process in (operators.REPLAY, REDRIVER):
        if file.process(process) is None:
            yield Finding(
                CHECK, "warning", f"{process} is not listed: its signatures are not accepted",
                "list its public key under `processes` (`npp keys show`)",
            )  # fmt: skip
    admins, soon = file.usable(now_ms), file.usable(now_ms + SOON_DAYS * DAY_MS)
    if admins < ADMINS_MIN:
        yield Finding(
            CHECK, "failed", f"{admins} admins can sign: acts under dual control need {ADMINS_MIN}",
            "docs/runbook.md, Keys and the operators file",
        )  # fmt: skip
    elif soon < ADMINS_MIN:
        yield Finding(
            CHECK, "failed", f"in {SOON_DAYS} days only {soon} admins can still sign", NEXT
        )
    else:
        yield Finding(CHECK, "ok", f"file {file.number}: {admins} admins can sign")


def _time_of(
    each: Entry, valid_until: datetime, now_ms: int, *, is_person: bool
) -> Iterator[Finding]:
    left_ms = valid_until.timestamp() * MS_PER_S - now_ms
    until = f"{each.id} may act until {valid_until.isoformat()}"
    if left_ms <= 0:
        level: Level = "ok" if is_person else "failed"  # persons leave; a process that signs stays
        yield Finding(CHECK, level, f"{until}: over", "" if is_person else NEXT)
    elif left_ms < SOON_DAYS * DAY_MS:
        yield Finding(CHECK, "warning", f"{until}: in {int(left_ms // DAY_MS)} days", NEXT)


def without_an_end(file: Operators) -> Iterator[Finding]:
    """People whose keys never expire, including ones that were forgotten."""
    names = [p.id for p in file.persons if ADMIN in p.roles and p.valid_until is None]
    if names:
        yield Finding(
            CHECK, "warning", f"no validUntil: {', '.join(names)}",
            "give every entry a validUntil in the next file",
        )  # fmt: skip


def of_control(file: Operators, control: Control) -> Finding:
    """Whether the control topic has this file in force."""
    found = control.operators
    if found is None:
        return Finding(CHECK, "failed", "no operators file is in force", "npp topics apply")
    if found.sha256 == file.sha256:
        return Finding(CHECK, "ok", f"file {file.number} is in force")
    says = (
        f"file {found.number} ({found.sha256.hex()[:16]}…) is in force, this is "
        f"{file.number} ({file.sha256.hex()[:16]}…)"
    )
    if found.sha256 == file.previous:
        return Finding(
            CHECK, "warning", f"{says}: deployed, not yet in force",
            "npp control operators FILE, then npp control confirm",
        )  # fmt: skip
    return Finding(CHECK, "failed", says, "deploy the one in force: no partition is taken here")
