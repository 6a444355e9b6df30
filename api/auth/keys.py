"""Public keys of the token issuer: a JWKS from a URL or a file, cached and fetched rarely.

When the key server is down, known keys stay valid for STALE_S_MAX, and tokens with an unknown key
are not accepted (fault row 18). A key set that cannot be read changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from api.auth.sign_in import KeysDown
from engine.clock import Clock
from gateways.connections import BrokenError, ConnectError, Gateway, TooLongError
from schemas.strict_json import UnreadableJson, read_json

log = structlog.get_logger("npp.api.keys")

REFRESH_S: Final = 300.0  # a withdrawn key is accepted at most this long while the server answers
ASK_S_MIN: Final = 10.0  # between two fetches, whatever tokens come
STALE_S_MAX: Final = 3_600.0  # known keys stay valid this long while the server is down
WAIT_S_MAX: Final = 3.0  # for another thread's fetch
KEYS_COUNT_MAX: Final = 100
FILE_BYTES_MAX: Final = 262_144
HTTP_OK: Final = 200
RSA_BITS_MIN: Final = 2_048
BITS_OF_A_CHARACTER: Final = 6  # of base64url
KEY_ID_CHARACTERS_MAX: Final = 200
LOCAL_KEY_PREFIX: Final = "local-"  # of the demo's own issuer: refused in production

# Which algorithms a kind of key may verify: (kty, crv) → algorithms.
ALGORITHMS: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("RSA", None): frozenset({"RS256", "PS256"}),
}

PublicKey = OKPKey | ECKey | RSAKey


class TrustedKey(msgspec.Struct, frozen=True):
    """A key, and the algorithms that it may verify."""

    key: PublicKey
    algorithms: frozenset[str]
    members: Mapping[str, Any]  # as listed: the same members are the same key


Read = Callable[[], Mapping[str, Any] | None]


def from_address(url: str, clock: Clock) -> Read:
    """Reads the key set from a URL; None without a valid answer. Limited in bytes and time."""
    gateway = Gateway(url)

    def read() -> Mapping[str, Any] | None:
        try:
            status, content = gateway.exchange("GET", "", None, clock)
        except (ConnectError, TimeoutError, TooLongError, BrokenError):
            return None
        return key_set(content) if status == HTTP_OK else None

    return read


def from_file(path: Path) -> Read:
    """Reads the key set from a file; None when it cannot be read or is not a key set."""

    def read() -> Mapping[str, Any] | None:
        try:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError:
            return None
        return key_set(content)

    return read


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


_decode_set: Final = msgspec.json.Decoder(_KeySet).decode


def key_set(content: bytes) -> Mapping[str, Any] | None:
    """The `keys` of the key set in these bytes, each read by itself: None for one that cannot be
    read. None instead of the whole when it is not a key set.
    """
    try:
        listed = _decode_set(content).keys
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        return None
    return {"keys": [_member(bytes(raw)) for raw in listed[: KEYS_COUNT_MAX + 1]]}


def _member(raw: bytes) -> Any:
    try:
        return read_json(raw)
    except UnreadableJson:
        return None


class KeySource:
    """Keys by id. Safe for many threads: one fetches, the others use the known keys."""

    def __init__(self, read: Read, clock: Clock, *, local_keys: bool) -> None:
        self._read = read
        self._clock = clock
        self._local_keys = local_keys
        self._keys: dict[str, TrustedKey] = {}
        self._got_at: float | None = None
        self._requested_at: float | None = None
        self._asking = threading.Lock()
        self.malformed = 0  # members of the key set that cannot be read; the others count

    def current(self) -> bool:
        """Whether the known keys may be used without a fetch."""
        now = self._clock.monotonic_s()
        if self._got_at is None or now - self._got_at >= STALE_S_MAX:
            return False
        return now - self._got_at < REFRESH_S or not self._may_ask(now)

    def holds(self, key_id: str, key: TrustedKey) -> bool:
        """Whether this very key is still valid under this id. Never fetches."""
        return self._keys.get(key_id) is key and not self._is_stale()

    def lists(self, key_id: str) -> bool:
        """Whether the key is known; True while none is known yet. Never fetches."""
        return key_id in self._keys or self._is_stale()

    def find(self, key_id: str) -> TrustedKey | None:
        """The key; fetches from the issuer if it is unknown or the keys are old, and a fetch is
        allowed now.

        Raises KeysDown if it is unknown and there was no valid answer.
        """
        now = self._clock.monotonic_s()
        got_at = self._got_at
        if got_at is None or now - got_at >= REFRESH_S or key_id not in self._keys:
            self._ask(WAIT_S_MAX if got_at is None or key_id not in self._keys else 0.0)
        if self._is_stale():
            raise KeysDown
        found = self._keys.get(key_id)
        if found is None and self._got_at != self._requested_at:
            raise KeysDown  # the last fetch failed: the key may exist
        return found

    def state(self) -> str | None:
        """Why no token can be verified now, or None. Starts a fetch, if one is allowed now: an
        instance that is not ready gets no tokens, which would start one.
        """
        now = self._clock.monotonic_s()
        if (self._got_at is None or now - self._got_at >= REFRESH_S) and self._may_ask(now):
            threading.Thread(target=self._ask, args=(0.0,), name="npp-keys", daemon=True).start()
        if self._got_at is None:
            return "the token issuer's keys could not be read yet"
        if self._clock.monotonic_s() - self._got_at >= STALE_S_MAX:
            return "the token issuer's keys are too old and it does not answer"
        return None

    def _is_stale(self) -> bool:
        return self._got_at is None or self._clock.monotonic_s() - self._got_at >= STALE_S_MAX

    def _may_ask(self, now: float) -> bool:
        return self._requested_at is None or now - self._requested_at >= ASK_S_MIN

    def _ask(self, wait_s: float) -> None:
        """Fetch, one thread at a time; others wait up to `wait_s`, then use the known keys."""
        if not self._asking.acquire(timeout=wait_s):
            return
        try:
            now = self._clock.monotonic_s()
            if not self._may_ask(now):
                return
            self._requested_at = now
            found = self._read()
            keys = self._parse(found) if found is not None else None
            if keys is None:
                log.warning("the token issuer returned no key set", known=len(self._keys))
                return
            if keys.keys() != self._keys.keys():
                log.info("the token issuer's keys", keys=sorted(keys))
            self._keys = keys
            self._got_at = now
        finally:
            self._asking.release()

    def _parse(self, found: Mapping[str, Any]) -> dict[str, TrustedKey] | None:
        """The usable keys; None when it is not a key set. A member of another kind, or one that is
        symmetric, weak or malformed, is left out without effect on the others (RFC 7517, section
        5).
        """
        listed = found.get("keys")
        if not isinstance(listed, list) or len(listed) > KEYS_COUNT_MAX:
            return None
        keys: dict[str, TrustedKey] = {}
        malformed = 0
        for place, each in enumerate(listed):
            try:
                self._take(each, keys)
            except MalformedKey as error:
                malformed += 1
                log.warning(
                    "a member of the issuer's key set cannot be read and is ignored; the others "
                    "are used: tell the issuer",
                    place=place,
                    problem=str(error),
                )
        self.malformed = malformed
        return keys

    def _take(self, each: Any, keys: dict[str, TrustedKey]) -> None:
        """Add a member's key under its id, if it is usable. Raises MalformedKey."""
        if not isinstance(each, dict):
            raise MalformedKey("it is no JSON object")
        key_id = _text(each, "kid")
        if key_id is None or not 0 < len(key_id) <= KEY_ID_CHARACTERS_MAX:
            return
        if key_id.startswith(LOCAL_KEY_PREFIX) and not self._local_keys:
            log.critical("the key set contains a key of the demo's issuer; it is ignored")
            return
        if key_id in keys:
            return
        known = self._keys.get(key_id)
        key = known if known is not None and known.members == each else trusted(each)
        if key is not None:
            keys[key_id] = key


class MalformedKey(ValueError):
    """A member of a key set is not a JSON Web Key. The message contains nothing of the key."""


def trusted(listed: Mapping[str, Any]) -> TrustedKey | None:
    """A listed public key, if it is of a kind that is allowed here. Raises MalformedKey."""
    algorithms = ALGORITHMS.get((_text(listed, "kty") or "", _text(listed, "crv")))
    use, named = _text(listed, "use"), _text(listed, "alg")
    if algorithms is None or "d" in listed or use not in (None, "sig"):
        return None
    if named is not None:
        algorithms = algorithms & {named}
    members: dict[str, str | list[str]] = {
        name: value for name in _MEMBERS if (value := _text(listed, name)) is not None
    }
    if "n" in members and len(members["n"]) * BITS_OF_A_CHARACTER < RSA_BITS_MIN:
        return None
    try:
        key = import_key(members)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise MalformedKey(f"its key is invalid ({type(error).__name__})") from None
    if not isinstance(key, PublicKey) or not algorithms:
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS_MIN:
        return None
    return TrustedKey(key, algorithms, listed)


_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e")


def _text(listed: Mapping[str, Any], name: str) -> str | None:
    value = listed.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedKey(f"its {name} is no text")
    return value
