"""An attacker who holds a viewer's or an approver's token, which must not show names
and accounts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import processors.payments.handler as payments_handler
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import PaymentIntentId
from schemas import topology as t
from tests.api.command_harness import ApiHarness as CommandHarness
from tests.api.harness import ApiHarness, mixed_harness

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiHarness, dict[str, str]]]:
    harness, names = mixed_harness(tmp_path_factory.mktemp("api"))
    yield harness, names
    harness.close()


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_no_hash_is_shown_that_would_confirm_a_guessed_account(
    made: tuple[ApiHarness, dict[str, str]], role: str
) -> None:
    """An event's frame is public, so its hash would confirm a guess of the account in it, at 47,000
    guesses a second.
    """
    api, names = made
    driver = api.harness.world.driver
    records = [
        each.value or b""
        for topic in (t.EVENTS, t.COMMANDS, t.OPERATOR_COMMANDS, t.OUTCOMES, t.QUARANTINE)
        for each in driver.committed(topic)
    ]
    hashes = {hashlib.sha256(raw).hexdigest() for raw in records}
    seen = 0
    for payment in names.values():
        place = f"/api/payments/{payment}"
        for path in (place, f"{place}/events", f"{place}/outcomes", f"{place}/timeline",
                     f"{place}/evidence-pack/download"):  # fmt: skip
            answer = api.get(path, role)
            assert not [each for each in hashes if each in answer.text], path
            seen += answer.status_code == 200
        assert any(each in api.get(f"{place}/events", "auditor").text for each in hashes)
    for path in ("/api/payments", "/api/quarantine", "/api/incidents/summary", "/api/audit"):
        answer = api.get(path, role)
        assert not [each for each in hashes if each in answer.text], path
    assert seen >= 3 * len(names)


def test_the_text_of_a_defect_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It quotes what could not be handled, as int(), a lookup and a codec do: names, accounts. A
    parked input's header, the quarantine and the incident summary used to show it to every viewer.
    """

    def bad(*_: object, **__: object) -> int:
        return int("Zebedee Quux 062000-987654321")

    harness = CommandHarness(tmp_path)
    try:
        payment = harness.sent("k")
        with monkeypatch.context() as patched:
            patched.setattr(payments_handler, "decide", bad)
            requested = commands.RequestApproval(
                header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
                operator=OperatorHeader(
                    operator_id="olga", roles=("operator",), token_id="t",
                    not_after=harness.clock.now_ms() + 60_000,
                ),
                action="CANCEL",
                reason="x",
            )  # fmt: skip
            harness.world.pipe(t.OPERATOR_COMMANDS, requested)
            harness.world.driver.run()
        harness.work()
        parked = harness.world.driver.committed(t.QUARANTINE)
        assert len(parked) == 1
        assert dict(parked[0].headers)["npp-detail"] == b"ValueError"
        for who in ("vera", "olga"):
            for path in ("/api/quarantine", "/api/incidents/summary", f"/api/payments/{payment}"):
                answer = harness.get(who, path)
                assert answer.status_code == 200
                assert "Zebedee" not in answer.text, path
        assert "PARKED" in harness.get("vera", "/api/quarantine").text
    finally:
        harness.close()
