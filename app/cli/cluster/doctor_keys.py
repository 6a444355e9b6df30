"""`npp doctor`: the files that are not on Kafka and cannot be recreated: keys, schema ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.cli.cluster.findings import Finding, Level
from app.cluster import Cluster
from app.config.settings import Environment
from control.acts import key_file
from control.acts.key_file import KeyFileError
from evidence.keys import Keyring, read_keyring
from schemas import topology

RESTORE: Final = "docs/runbook.md, Back up and restore"


def check_keys(environment: Environment) -> Iterator[Finding]:
    """Schema ids, the verifier's keyring, and its signing key where this machine has it."""
    settings = environment.settings
    lock = environment.ids_lock()
    if lock.exists():
        yield Finding("keys", "ok", f"schema ids are pinned in {lock}")
    else:
        yield Finding("keys", "failed", f"schema ids are not pinned: no {lock}", RESTORE)
    file = environment.keyring_file()
    try:
        keyring = read_keyring(file)
    except KeyFileError as error:
        yield Finding("keys", "failed", f"the verifier's keyring: {error}", RESTORE)
        return
    listed = keyring.listed()
    if listed:
        revoked = sum(each.revoked_at is not None for each in listed)
        yield Finding("keys", "ok", f"keyring {file}: {len(listed)} keys, {revoked} revoked")
    else:
        level: Level = "failed" if _has_signed(environment) else "warning"
        says = f"no keyring at {file}: no pack can be verified from here"
        yield Finding("keys", level, says, f"NPP_KEYRING names the verifier's. {RESTORE}")
    key = settings.signing_key or settings.data_dir / "verifier" / "signing-key.pem"
    if settings.signing_key is None and not key.exists():
        yield Finding("keys", "ok", "no signing key here: the verifier alone holds it")
        return
    yield _signing_key(key, keyring)


def _signing_key(file: Path, keyring: Keyring) -> Finding:
    try:
        key = key_file.read(file, None)
    except (KeyFileError, OSError) as error:
        return Finding("keys", "failed", f"the signing key cannot be used: {error}", RESTORE)
    if key.key_id not in keyring:
        return Finding(
            "keys", "warning", f"signing key {key.key_id} is not in the keyring",
            "the verifier lists it at its next start",
        )  # fmt: skip
    return Finding("keys", "ok", f"signing key {key.key_id} is listed")


def _has_signed(environment: Environment) -> bool:
    ends = Cluster(environment).ends
    topic = topology.CHECKPOINTS
    count = ends.partition_counts([topic])[topic]
    return any(ends.high([(topic, number) for number in range(count)]).values())
