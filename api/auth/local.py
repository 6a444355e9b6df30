"""Issues tokens in demo and test, with an Ed25519 key in the data folder; never in production."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orjson
from joserfc import jws
from joserfc.jwk import OKPKey

from api.auth.keys import LOCAL_KEY_PREFIX
from control.acts.roles import ROLES
from engine.clock import MS_PER_S, Clock
from engine.private_file import write_private

KEY_FILE: Final = "api-token-key.json"
JWKS_FILE: Final = "api-jwks.json"
LOCAL_ISSUER: Final = "npp-local"
LOCAL_AUDIENCE: Final = "npp-api"
MINUTES_DEFAULT: Final = 480
MINUTES_MAX: Final = 1_440
S_PER_MINUTE: Final = 60


class LocalIssuer:
    """Reads or creates the key in `folder`, and writes its public half to a JWKS file beside it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)
        self.jwks = folder / JWKS_FILE
        file = folder / KEY_FILE
        if not file.exists():
            made = OKPKey.generate_key("Ed25519")
            _write_once(file, orjson.dumps(made.as_dict(private=True)))
        self._key = OKPKey.import_key(orjson.loads(file.read_bytes()))
        self.key_id = LOCAL_KEY_PREFIX + self._key.thumbprint()[:16]
        public = {**self._key.as_dict(private=False), "kid": self.key_id, "use": "sig"}
        _replace(self.jwks, orjson.dumps({"keys": [public]}))

    def issue(
        self,
        subject: str,
        roles: Iterable[str],
        *,
        client_id: str | None = None,
        minutes: int = MINUTES_DEFAULT,
        issuer: str = LOCAL_ISSUER,
        audience: str = LOCAL_AUDIENCE,
    ) -> str:
        """A token that is valid for `minutes`. Raises ValueError for a role that does not exist,
        or more than MINUTES_MAX.
        """
        wanted = sorted(set(roles))
        unknown = [role for role in wanted if role not in ROLES]
        if unknown or not wanted:
            raise ValueError(f"roles are {', '.join(sorted(ROLES))}")
        if not 0 < minutes <= MINUTES_MAX:
            raise ValueError(f"a token is valid for 1 to {MINUTES_MAX} minutes")
        now = self._clock.now_ms() // MS_PER_S
        claims: dict[str, Any] = {
            "iss": issuer,
            "aud": audience,
            "sub": subject,
            "roles": wanted,
            "iat": now,
            "nbf": now,
            "exp": now + minutes * S_PER_MINUTE,
            "jti": secrets.token_hex(16),
        }
        if client_id is not None:
            claims["client_id"] = client_id
        header = {"alg": "Ed25519", "kid": self.key_id, "typ": "at+jwt"}
        return jws.serialize_compact(
            header, orjson.dumps(claims), self._key, algorithms=["Ed25519"]
        )


def _write_once(file: Path, content: bytes) -> None:
    """The first caller creates it, readable by its owner only; an existing one is kept."""
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    write_private(mine, content)
    try:
        os.link(mine, file)
    except FileExistsError:
        pass
    finally:
        mine.unlink()


def _replace(file: Path, content: bytes) -> None:
    mine = file.with_name(f"{file.name}.{os.getpid()}")
    mine.write_bytes(content)
    mine.replace(file)
