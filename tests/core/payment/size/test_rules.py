"""Each limit of a payment has a rule; nothing is silently dropped."""

from __future__ import annotations

from core import refusals as r
from core.decider import Accepted, Refusal
from core.payment import commands as c
from core.payment import funds
from core.payment import state as s
from core.payment.report_table import KINDS
from core.payment.state import pack
from core.values import external_ref
from tests.core.payment.size.flood import ATTEMPTS, ID, LIMITS, Flood, made_again, wide


def test_conflicts_of_a_recovery_have_a_limit() -> None:
    """Reports for attempts missing from a recovered history open at most 64."""
    flood = Flood().sent()
    flood.found = frozenset(external_ref(ID, number) for number in range(2, 100))
    answers = []
    for number in range(2, 100):
        for kind in KINDS:
            answers.append(flood.give(flood.report(kind, wide(35), attempt=number)))
            assert not isinstance(flood.give(flood.report(kind, attempt=number)), Accepted)
    assert sum(isinstance(answer, Accepted) for answer in answers) == s.RECOVERED_MAX
    assert answers[-1] == r.no_effect(r.CONFLICTS_FULL)


def test_the_oldest_resolved_conflicts_are_forgotten_first() -> None:
    """16 resolved conflicts are remembered, so that their reports stay duplicates."""
    flood = Flood().sent()
    for index in range(60):
        flood.contradict(f"{index:04d}")
        flood.resolve_one()
    kept = [conflict.id for conflict in flood.payment.conflicts]
    assert kept == [f"cnf_{number:03d}" for number in range(45, 61)]


def test_open_approvals_and_attempts_have_a_limit() -> None:
    """Domain §2: a 21st attempt or a 17th open approval is rejected LIMIT_REACHED."""
    flood = Flood()
    for number in range(1, ATTEMPTS + 1):
        flood.sent()
        if number < ATTEMPTS:
            flood.retried()
    flood.must(flood.report("REJECTED", "AB08"))
    flood.must(flood.answer("RELEASE", "RELEASED"))
    person = flood.approve("RETRY")
    refused = flood.give(
        c.RetryPayment(
            header=flood.head(),
            operator=flood.operator(person),
            attempt_id="att_021",
            reason="again",
        )
    )
    assert isinstance(refused, Refusal)
    assert refused.rule == "LIMIT_REACHED"
    for _ in range(LIMITS.approvals_open_max - 1):
        flood.must(flood.request("RETRY", flood.person()))
    refused = flood.give(flood.request("RETRY", flood.person()))
    assert isinstance(refused, Refusal)
    assert refused.rule == "LIMIT_REACHED"


def test_repeated_funds_requests_have_one_limit_for_the_whole_payment() -> None:
    """What Deposits Core keeps refusing is repeated 99 times per payment, not per attempt."""
    flood = Flood()
    flood.refuse_to_the_limit("HOLD")
    flood.sent()
    flood.must(flood.report("REJECTED", "AB08"))
    flood.must(flood.answer("RELEASE", "REFUSED"))
    flood.must(flood.again("RELEASE"))
    flood.must(flood.answer("RELEASE", "REFUSED"))
    assert made_again(flood.payment) == funds.REQUESTS_MAX
    refused = flood.give(flood.again("RELEASE"))
    assert isinstance(refused, Refusal)
    assert refused.rule == "LIMIT_REACHED"


def test_returns_are_distinguished_up_to_a_limit_and_none_is_dropped() -> None:
    """Ruling 13: the 65th return of a payment is a conflict that a person judges."""
    flood = Flood().sent()
    flood.must(flood.report("SETTLED"))
    flood.must(flood.answer("CAPTURE", "CAPTURED"))
    for index in range(s.RETURNS_MAX):
        given = {"amount": 1, "rail_message_id": wide(140, f"{index:03d}")}
        flood.must(flood.report("RETURNED", wide(35, "r"), **given))
        flood.must(flood.answer("CREDIT", "CREDITED"))
        assert not isinstance(
            flood.give(flood.report("RETURNED", wide(35, "r"), **given)), Accepted
        )
    flood.must(flood.report("RETURNED", amount=1, rail_message_id="one more"))
    assert [conflict.kind for conflict in flood.payment.conflicts] == ["RETURNS_TOO_MANY"]
    assert flood.attempt.credited == s.RETURNS_MAX


def test_years_of_silence_from_deposits_core_add_only_a_count() -> None:
    """Domain §3: an unanswered request is repeated without a last try; the state does not grow."""
    flood = Flood().sent()
    flood.must(flood.report("REJECTED", "AC01"))
    sizes = []
    for _ in range(400):
        flood.must(flood.answer("RELEASE", "FAILED", code=wide(140), details=wide(1_000)))
        flood.now = flood.payment.deadline or flood.now
        flood.must(
            c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "SEND", deadline=flood.now
            )
        )
        sizes.append(len(pack(flood.payment)))
    assert flood.ask("RELEASE").repeat == 400
    assert max(sizes[-s.ENDS_KEPT * 2 :]) - min(sizes[: s.ENDS_KEPT * 2]) < 16 * s.ENDS_KEPT
