"""The verifier's key and keyring lost, restored and replaced, as in docs/runbook.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.evidence.views import PublicKeyView
from api.server import api_probes
from control.acts.key_file import KeyFileError, SigningKey
from control.acts.key_file import new as new_key
from engine.clock import SystemClock
from engine.loop.watch import Health
from evidence import checkpoints
from evidence.checkpoints import CheckpointChain, End, Range, Sealed, build, seal
from evidence.keyring_file import LiveKeyring
from evidence.keys import (
    KeyMissing,
    Keyring,
    fingerprint,
    key_and_keyring,
    pem_of,
    read_keyring,
    write_keyring,
)
from schemas.topology import CHECKPOINTS
from tests.processors.payments.world import CODEC

NOW = 1_700_000_000_000


def files(folder: Path) -> tuple[Path, Path]:
    return folder / "verifier" / "signing-key.pem", folder / "verifier" / "keyring.json"


def start(
    folder: Path, *, has_signed: bool = True, may_make: bool = False
) -> tuple[SigningKey, Keyring]:
    """The part of a verifier's start that loads its key."""
    return key_and_keyring(*files(folder), NOW, has_signed=has_signed, may_make=may_make)


def handed_out(keyring: Keyring) -> bytes:
    """The output of `npp evidence keys --out`: the API's response."""
    views = [
        PublicKeyView(
            each.key_id, each.algorithm, each.public_key, fingerprint(bytes(32)), each.added_at,
            each.valid_from, each.valid_until, each.revoked_at, pem_of(each),
        )
        for each in keyring.listed()
    ]  # fmt: skip
    fields = {"keyId": "key_id", "algorithm": "algorithm", "publicKey": "public_key",
              "fingerprint": "fingerprint", "addedAt": "added_at", "validFrom": "valid_from",
              "validUntil": "valid_until", "revokedAt": "revoked_at", "pem": "pem"}  # fmt: skip
    listed = [{name: getattr(v, field) for name, field in fields.items()} for v in views]
    return json.dumps({"version": 1, "keys": listed, "schemas": []}).encode()


def test_a_verifier_with_signed_checkpoints_and_an_empty_data_folder_makes_no_key(
    tmp_path: Path,
) -> None:
    for may_make in (True, False):
        with pytest.raises(KeyMissing, match="restore it from its backup"):
            start(tmp_path, may_make=may_make)
    assert not any(each.exists() for each in files(tmp_path))


def test_production_never_makes_a_key_by_itself(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="openssl genpkey"):
        start(tmp_path, has_signed=False)
    new_key().write(files(tmp_path)[0], None)
    key, keyring = start(tmp_path, has_signed=False)
    assert key.key_id in keyring


def test_key_and_keyring_are_restored_from_backup(tmp_path: Path) -> None:
    key, _ = start(tmp_path, has_signed=False, may_make=True)
    shutil.copytree(tmp_path / "verifier", tmp_path / "backup")
    shutil.rmtree(tmp_path / "verifier")
    (tmp_path / "verifier").mkdir()
    shutil.copy2(tmp_path / "backup" / "signing-key.pem", tmp_path / "verifier")
    with pytest.raises(KeyMissing, match=r"keyring is not here"):
        start(tmp_path)
    shutil.copy2(tmp_path / "backup" / "keyring.json", tmp_path / "verifier")
    assert start(tmp_path)[0].key_id == key.key_id


def test_a_lost_key_is_replaced_in_the_published_keyring(tmp_path: Path) -> None:
    """Without a backup the key is revoked; what it signed before still verifies."""
    old, ring = start(tmp_path, has_signed=False, may_make=True)
    content = handed_out(ring)
    shutil.rmtree(tmp_path / "verifier")
    key_file, keyring_file = files(tmp_path)
    keyring_file.parent.mkdir()
    keyring_file.write_bytes(content)
    new_key().write(key_file, None)
    restored = read_keyring(keyring_file)
    restored.limit(old.key_id, revoked_at=NOW)
    write_keyring(keyring_file, restored)
    new, keyring = start(tmp_path)
    assert [each.key_id for each in keyring.listed()] == [old.key_id, new.key_id]
    assert keyring.problem(old.key_id, NOW - 1) is None
    assert keyring.problem(old.key_id, NOW) is not None


def test_a_verifier_with_a_revoked_key_does_not_start(tmp_path: Path) -> None:
    key, keyring = start(tmp_path, has_signed=False, may_make=True)
    keyring.limit(key.key_id, revoked_at=NOW - 1)
    write_keyring(files(tmp_path)[1], keyring)
    with pytest.raises(KeyMissing, match="revoked"):
        start(tmp_path)


def test_the_api_without_a_keyring_is_not_ready_and_says_so(tmp_path: Path) -> None:
    """Otherwise packs would fail later with EVIDENCE_BROKEN."""
    file = files(tmp_path)[1]
    keyring = LiveKeyring(file)
    health = Health(SystemClock())
    fine: Any = SimpleNamespace(not_ready=lambda: None, ready=lambda: None, projected=dict)
    probes = api_probes(health, 60.0, fine, fine, fine, keyring)
    ready, said = probes.ready()
    assert not ready
    assert "keyring is not here" in str(said["reason"])
    start(tmp_path, has_signed=False, may_make=True)
    assert probes.ready() == (True, {"reason": None})
    file.write_text("{")
    assert "cannot be read" in str(probes.ready()[1]["reason"])


def test_a_revocation_cannot_be_undone() -> None:
    keyring = Keyring()
    key = new_key()
    keyring.add(key.public, 0)
    keyring.limit(key.key_id, revoked_at=5)
    keyring.limit(key.key_id, revoked_at=9)
    assert keyring.listed()[0].revoked_at == 5
    keyring.limit(key.key_id, revoked_at=3)
    assert keyring.listed()[0].revoked_at == 3
    with pytest.raises(KeyFileError, match="not listed"):
        keyring.limit("ed25519-0000000000000000", revoked_at=3)


def test_only_checkpoints_after_the_revocation_are_a_problem() -> None:
    key, keyring = new_key(), Keyring()
    keyring.add(key.public, 0)
    keyring.limit(key.key_id, revoked_at=NOW)
    chain = CheckpointChain(3, keyring)
    before: Sealed | None = None
    for offset, at in enumerate((NOW - 1, NOW)):
        touched = Range()
        touched.touch("pi_" + "a" * 26, offset + 1, bytes(32))
        draft = build(3, before, touched, End(offset), at, key.key_id)
        before = seal(draft, key, lambda each: CODEC.encode(CHECKPOINTS, each))
        problem = chain.feed(before)
        if at < NOW:
            assert problem is None
    assert problem is not None
    assert problem.kind == checkpoints.KEY_PERIOD
