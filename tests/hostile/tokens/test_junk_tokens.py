"""An attacker without credentials sends invalid tokens and slows down only their own requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import ApiSettings
from api.auth.keys import ASK_S_MIN, KeySource
from api.auth.tokens import Tokens, TokenSettings
from api.edge.limits import Limits, LimitSettings, Rate
from engine.clock import SystemClock
from engine.serving.addresses import block_of
from tests.api.auth.issuer import AUDIENCE, HEADER, ISSUER, JWKS, KEY, NOW_MS, good, signed
from tests.api.harness import ApiHarness
from tests.clock import HeldClock

pytestmark = pytest.mark.slow

JUNK_COUNT = 60
REFUSED = Rate(per_s=0.001, burst=5.0)


class MovedClock(SystemClock):
    """The machine's clock, advanced at will."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Api:
    """The API with an issuer's key set that can hang or be counted."""

    def __init__(self, folder: Path) -> None:
        settings = ApiSettings(limits=LimitSettings(refused=REFUSED))
        self.harness = ApiHarness(folder, settings)
        self.requested = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.clock = MovedClock()
        source = self.harness.keys._read

        def read() -> Any:
            self.requested += 1
            assert self.go_on.wait(20)
            return source()

        keys = KeySource(read, self.clock, local_keys=True)
        self.harness.app.state.auth = Tokens(self.harness.tokens._settings, keys, self.clock)
        self.http = TestClient(self.harness.app)
        self.http.__enter__()  # one event loop for all requests, as the server has

    def close(self) -> None:
        self.go_on.set()
        self.http.__exit__()
        self.harness.close()

    def status(self, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return int(self.http.get("/api/session", headers=headers).status_code)

    def token(self, person: str) -> str:
        return self.harness.token("viewer", subject=person)

    def forged(self, person: str) -> str:
        """A token by a known key with an altered signature."""
        head, claims, signature = self.token(person).split(".")
        other = "A" if signature[0] != "A" else "B"
        return f"{head}.{claims}.{other}{signature[1:]}"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


UNKNOWN_KEY = signed({**HEADER, "kid": "x"}, good())


def test_junk_with_an_unknown_key_does_not_stop_sign_ins(api: Api) -> None:
    """SEC-08: from the same address; only the junk is delayed."""
    assert api.status(api.token("olga")) == 200
    found = [api.status(UNKNOWN_KEY) for _ in range(JUNK_COUNT)]
    assert set(found) == {401, 429}
    assert found[-1] == 429
    assert api.status(api.token("new-here")) == 200


def test_junk_under_a_known_key_does_not_lock_out_known_users(api: Api) -> None:
    assert api.status(api.token("olga")) == 200
    found = [api.status(api.forged("mallory")) for _ in range(JUNK_COUNT)]
    assert (found[0], found[-1]) == (401, 429)
    assert api.status(api.token("olga")) == 200, "a fresh token of a person who is known"


def test_signed_in_users_stay_signed_in_when_junk_forces_a_key_refresh(api: Api) -> None:
    olga = api.token("olga")
    assert api.status(olga) == 200
    requested = api.requested
    for _ in range(10):
        api.clock.ahead_s += ASK_S_MIN
        api.status(UNKNOWN_KEY)
    assert api.requested > requested, "NV: the junk had the keys read"
    assert api.status(olga) == 200


def test_unknown_keys_waiting_for_a_hanging_key_server_take_no_threads_from_others(
    api: Api,
) -> None:
    assert api.status(api.token("olga")) == 200
    api.clock.ahead_s += ASK_S_MIN
    api.go_on.clear()
    junk = [threading.Thread(target=api.status, args=(UNKNOWN_KEY,)) for _ in range(20)]
    for thread in junk:
        thread.start()
    answers: list[int] = []
    person = threading.Thread(target=lambda: answers.append(api.status(api.token("oskar"))))
    person.start()
    person.join(2)
    in_time = list(answers)
    api.go_on.set()
    for thread in [*junk, person]:
        thread.join()
    assert in_time == [200]


def test_an_addresss_rate_limit_does_not_affect_users_signed_in_there(tmp_path: Path) -> None:
    settings = ApiSettings(limits=LimitSettings(address=Rate(per_s=0.001, burst=3.0)))
    harness = ApiHarness(tmp_path, settings)
    try:
        headers = {"Authorization": f"Bearer {harness.token('viewer')}"}
        assert harness.http.get("/api/session", headers=headers).status_code == 200
        found = [harness.http.get("/api/session").status_code for _ in range(5)]
        assert found == [401, 401, 429, 429, 429]
        assert harness.http.get("/api/session", headers=headers).status_code == 200
    finally:
        harness.close()


class From:
    """A request from that address."""

    def __init__(self, host: str) -> None:
        self.client = self
        self.host = host


def test_the_addresses_of_one_ipv6_subscriber_are_one() -> None:
    limits = Limits(LimitSettings(refused=REFUSED), HeldClock(NOW_MS))
    let_through = 0
    for number in range(1_000):
        request: Any = From(f"2001:db8::{number:x}")
        try:
            limits.refused_sign_in(limits.check_sign_in(request, "", None))
        except Exception:  # noqa: BLE001 any refusal counts
            continue
        let_through += 1
    assert let_through == REFUSED.burst
    other: Any = From("2001:db8:0:1::1")
    assert limits.check_sign_in(other, "", None)


@pytest.mark.parametrize(
    ("host", "block"),
    [
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_which_client_an_address_stands_for(host: str, block: str) -> None:
    assert block_of(host) == block


def test_a_refresh_with_the_same_keys_keeps_verified_tokens() -> None:
    clock = HeldClock(NOW_MS)
    sign_in = Tokens(
        TokenSettings(ISSUER, AUDIENCE), KeySource(lambda: JWKS, clock, local_keys=False), clock
    )
    token = signed(HEADER, good(), KEY)
    sign_in.verify(token)
    clock.advance(int(ASK_S_MIN * 1_000))
    with pytest.raises(Exception, match="not known"):
        sign_in.verify(UNKNOWN_KEY)
    assert sign_in.known(token) is not None
