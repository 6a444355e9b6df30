"""The verifier's keys: files readable by their owner only, and a keyring that never loses a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.acts import key_file
from control.acts.key_file import KeyFileError
from evidence.keys import (
    Keyring,
    ListedKey,
    key_and_keyring,
    read_keyring,
    schema_message,
    write_keyring,
)
from tests.keys import key_from_seed

OLD, NEW = key_from_seed(b"o" * 32), key_from_seed(b"n" * 32)


def test_a_key_file_gives_the_same_key_again_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "verifier.pem"
    OLD.write(path, None)
    assert key_file.read(path, None).key_id == OLD.key_id
    with pytest.raises(FileExistsError):
        NEW.write(path, None)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verifier.pem"
    OLD.write(path, None)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="can be read by others"):
        key_file.read(path, None)


def test_an_invalid_key_file_is_reported_as_such(tmp_path: Path) -> None:
    path = tmp_path / "verifier.pem"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an unencrypted PEM"):
        key_file.read(path, None)


@pytest.mark.parametrize(
    "content", [b"\xff", b"{", b'{"version": 1, "keys": [], "keys": []}', b"[" * 60_000]
)
def test_an_unreadable_keyring_is_reported_as_such(tmp_path: Path, content: bytes) -> None:
    """One error, whatever is wrong with the file."""
    path = tmp_path / "keyring.json"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"keyring\.json"):
        read_keyring(path)


def test_old_keys_stay_listed_and_still_verify_what_they_signed(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    keyring = Keyring()
    assert keyring.add(OLD.public, 1)
    write_keyring(path, keyring)
    again = read_keyring(path)
    assert again.add(NEW.public, 2)
    assert not again.add(NEW.public, 3)
    write_keyring(path, again)
    last = read_keyring(path)
    assert [key.key_id for key in last.listed()] == [OLD.key_id, NEW.key_id]
    assert last.verifies(OLD.key_id, OLD.sign(b"m"), b"m")
    assert not last.verifies(NEW.key_id, OLD.sign(b"m"), b"m")


def test_a_keyring_without_a_listed_key_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    keyring = Keyring()
    keyring.add(OLD.public, 1)
    write_keyring(path, keyring)
    with pytest.raises(KeyFileError, match="old keys stay listed"):
        write_keyring(path, Keyring())


def test_a_key_under_a_wrong_id_is_refused() -> None:
    with pytest.raises(KeyFileError, match="not its own"):
        Keyring((ListedKey(OLD.key_id, "Ed25519", NEW.public.hex(), 1),))


def test_a_verifiers_first_start_makes_key_and_keyring_and_later_ones_keep_them(
    tmp_path: Path,
) -> None:
    files = (tmp_path / "k.pem", tmp_path / "r.json")
    key, _ = key_and_keyring(*files, 5, has_signed=False, may_make=True)
    again, keyring = key_and_keyring(*files, 6, has_signed=True, may_make=False)
    assert again.key_id == key.key_id
    assert [listed.added_at for listed in keyring.listed()] == [5]


def test_a_keys_statement_on_schema_ids_is_kept_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    keyring = Keyring()
    keyring.add(OLD.public, 1)
    keyring.add(NEW.public, 2)
    assert keyring.state_schemas(OLD, {7: "ab" * 32})
    write_keyring(path, keyring)
    again = read_keyring(path)
    assert not again.state_schemas(OLD, {7: "ab" * 32})
    assert again.state_schemas(NEW, {7: "ab" * 32, 8: "cd" * 32})
    stated = again.schema_statement(7, None)
    assert stated is not None
    message = schema_message(7, "ab" * 32)
    assert again.verifies(OLD.key_id, bytes.fromhex(stated.signature), message)
    newer = again.schema_statement(7, NEW.key_id)
    assert newer is not None
    assert newer.key_id == NEW.key_id
    assert again.schema_statement(9, None) is None
    with pytest.raises(KeyFileError, match="another schema"):
        again.state_schemas(OLD, {7: "ee" * 32})
    with pytest.raises(KeyFileError, match="would be dropped"):
        write_keyring(path, Keyring(keyring.listed()))
