"""The verifier's signing key and keyring, as the settings and the profile allow them."""

from __future__ import annotations

import structlog

from app.config.settings import Profile
from app.exits import usage
from app.process import ProcessContext
from control.acts.key_file import KeyFileError, SigningKey
from evidence.keys import Keyring, key_and_keyring, write_keyring
from schemas import topology
from schemas.registry.ids import locked_fingerprints

log = structlog.get_logger("npp.wiring")


def signing_key(context: ProcessContext) -> tuple[SigningKey, Keyring]:
    """The key, and the keyring that lists it and states the schema ids. Raises Problem."""
    folder = context.data_dir() / "verifier"
    signed = [(topology.CHECKPOINTS, n) for n in range(context.counts[topology.CHECKPOINTS])]
    try:
        key, keyring = key_and_keyring(
            context.settings.signing_key or folder / "signing-key.pem",
            folder / "keyring.json",
            context.clock.now_ms(),
            has_signed=any(context.ends.high(signed).values()),
            may_make=context.settings.profile is not Profile.PRODUCTION,
        )
    except KeyFileError as error:
        # One alarm, and no STOP: the log is as good as before.
        log.critical("alarm", alarm="VERIFIER_KEY", detail=str(error))
        raise usage(
            f"The verifier does not start: {error}.",
            do="docs/runbook.md, Back up and restore.",
        ) from error
    # Opening the codec has compared the schema ids with their lock.
    if keyring.state_schemas(key, locked_fingerprints(context.environment.ids_lock())):
        write_keyring(folder / "keyring.json", keyring)
    return key, keyring
