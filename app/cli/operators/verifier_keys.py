"""`npp evidence keys|limit-key`: the verifier's public keys, their fingerprints and periods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app.cli.output import console, error_console, print_json, time_of
from app.cli.words import epoch_ms, moment
from app.exits import ExitCode, Problem, usage
from control.acts.key_file import KeyFileError
from evidence import verify_evidence as verifier
from evidence.keys import read_keyring, write_keyring

GROUP: Final = 4  # hex digits of a fingerprint that are read aloud together

KeyringFile = Annotated[Path, typer.Option("--keyring", help="The file that the verifier writes.")]
Time = Annotated[str | None, typer.Option(help="ISO 8601 with zone.", callback=moment)]


def show_fingerprints(keys: bytes) -> None:
    """One line per key, on standard error: the keys themselves may go to standard output."""
    out = error_console()
    for name, key in verifier.read_keys(keys).items():
        digits = key.fingerprint
        groups = " ".join(digits[at : at + GROUP] for at in range(0, len(digits), GROUP))
        out.print(f"{name}  SHA-256 {groups}{_period(key)}")


def _period(key: verifier.Key) -> str:
    notes = [
        f"{word} {time_of(at)}"
        for word, at in (
            ("valid from", key.valid_from),
            ("valid until", key.valid_until),
            ("REVOKED at", key.revoked_at),
        )
        if at is not None
    ]
    return f"  ({', '.join(notes)})" if notes else ""


def limit_key(
    key: Annotated[str, typer.Argument(help="Its id, ed25519-….")],
    keyring: KeyringFile,
    valid_from: Time = None,
    valid_until: Time = None,
    revoked_at: Time = None,
    json: Annotated[bool, typer.Option("--json", help="The key as one JSON object.")] = False,
) -> None:
    """Set a key's period, or revoke it, in the verifier's own keyring file.

    Signatures of a later time fail from then on; earlier ones count, and say that the key was
    revoked. A revocation cannot be taken back. Restart the verifier with a new key, and publish
    the list.
    """
    given = {
        name: epoch_ms(text, f"--{name.replace('_', '-')}")
        for name, text in (
            ("valid_from", valid_from),
            ("valid_until", valid_until),
            ("revoked_at", revoked_at),
        )
        if text is not None
    }
    if not given:
        raise usage("Nothing to set: --valid-from, --valid-until or --revoked-at.")
    if not keyring.exists():
        raise usage(f"{keyring} is not there.", do="<data dir>/verifier/keyring.json")
    try:
        ring = read_keyring(keyring)
        if key not in ring:
            raise Problem(f"{key} is not listed in {keyring}.", code=ExitCode.NOT_FOUND)
        ring.limit(key, **given)
        write_keyring(keyring, ring)
    except KeyFileError as error:
        raise Problem(f"The keyring cannot be used: {error}") from error
    listed = next(each for each in ring.listed() if each.key_id == key)
    if json:
        print_json(msgspec.to_builtins(listed))
        return
    console().print(f"{key}: {', '.join(f'{n} {time_of(at)}' for n, at in given.items())}")
