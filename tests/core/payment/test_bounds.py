"""The state of a payment has a size: every part of it has a limit, and a rule when it is reached.

Engine rule of issue 10, finding 15: packed, a payment stays under 64 KiB after any sequence of
inputs, so that an event can always be written, ProcessingSuspended above all.
"""

from __future__ import annotations

import typing
from random import Random
from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.decider import Accepted, Decision, Refusal
from core.header import OperatorHeader
from core.payment import commands as c
from core.payment import events as e
from core.payment import funds
from core.payment import state as s
from core.payment.decide import decide, suspend
from core.payment.report_table import KINDS
from core.payment.state import PACKED_BYTES_MAX, Attempt, Payment, open_conflicts, pack
from core.values import Parties, Party, external_ref, payment_intent_id
from schemas.codec.parties import open_parties, seal
from tests.core.payment import dsl as d

LIMITS = d.rules().limits
ATTEMPTS = LIMITS.attempts_max
APPROVALS_KEPT = LIMITS.approvals_open_max + s.APPROVALS_REMEMBERED_MAX - 1
CONFLICTS_KEPT = s.CONFLICTS_LISTED_MAX + s.CONFLICTS_REMEMBERED_MAX
UNLISTED = s.CONFLICTS_OPEN_MAX
MESSAGES = 2 * ATTEMPTS  # one when it starts again, one when it ends
# One for each approval that is used up, one for each conflict of a recovery, and an expiry.
RESULTS = LIMITS.approvals_max + s.RECOVERED_MAX + ATTEMPTS + 1
OPERATIONS = 6
# The first request of each operation and attempt; and those after it, over the whole payment.
ASKS = OPERATIONS * ATTEMPTS + funds.REQUESTS_MAX + s.RETURNS_MAX
REPORTS = len(KINDS) + 1  # each kind, and a rejection that was only noted
REMEMBERED = RESULTS + UNLISTED + CONFLICTS_KEPT + MESSAGES + 2 * APPROVALS_KEPT
ENDS = 1 + REMEMBERED + (1 + REPORTS) * ATTEMPTS + ASKS + s.ENDS_KEPT

ONE = 1  # a number, a flag, or a text that an input's own limit bounds
# Every part of the state that holds more than one thing, and of how many at most.
PAYMENT: dict[str, int] = {
    "attempts": ATTEMPTS,
    "approvals": APPROVALS_KEPT,
    "conflicts": CONFLICTS_KEPT,
    "conflicts_unlisted_keys": UNLISTED,
    "notifications": MESSAGES,
    "results": RESULTS,
    "ends": ENDS,
}
ATTEMPT: dict[str, int] = {"returns": s.RETURNS_MAX, "funds_requests": ASKS, "reports": REPORTS}
# Every number that only rises. One that has no limit of its own is a number of 9 bytes at most.
NUMBER = 2**63 - 1
PAYMENT_COUNTERS: dict[str, int] = {
    "approvals_made": LIMITS.approvals_max,
    "conflicts_made": s.CONFLICTS_OPEN_MAX + LIMITS.approvals_max + s.RECOVERED_MAX + ATTEMPTS,
    "conflicts_unlisted": s.CONFLICTS_OPEN_MAX + s.RECOVERED_MAX + ATTEMPTS,
    "notes": LIMITS.notes_max + s.RETURNS_MAX,
    "sequence": NUMBER,
    "decision_from": NUMBER,
    "decision_topic": NUMBER,
    "decision_offset": NUMBER,
}
ATTEMPT_COUNTERS: dict[str, int] = {
    "number": ATTEMPTS,
    "policy_from": NUMBER,
    "enquiries": NUMBER,
    "enquiry_round": NUMBER,
}
# Times and amounts: numbers that do not count anything.
PAYMENT_NUMBERS = {
    "amount", "requested_execution_time", "expires_at", "created_at", "decided_at", "rule_set",
    "authorised_at", "deadline",
}  # fmt: skip
ATTEMPT_NUMBERS = {
    "started_at", "frozen_until", "held", "captured", "released", "debited", "reversed",
    "credited", "waived", "returns_sum", "returns_total", "sent_at", "submit_before",
    "acknowledged_at", "enquiry_at", "ended_at", "settled",
}  # fmt: skip
# Texts, by the most characters: of an input's limit, or 64 for a word of ours.
WORD = 64
PAYMENT_TEXTS: dict[str, int] = {
    "payment_intent_id": WORD, "source": 64, "idempotency_key": 128, "currency": 3,
    "parties_scheme": WORD, "parties_key_id": 128, "parties_bytes": 4_096, "end_to_end_id": 35,
    "service": WORD, "uetr": 36, "customer_id": 128, "state": WORD, "reason": WORD,
    "last_lifecycle_event": WORD, "deadline_kind": WORD,
}  # fmt: skip
ATTEMPT_TEXTS: dict[str, int] = {
    "state": WORD, "policy": WORD, "frozen_by": WORD, "funds": WORD, "hold_ref": 140,
    "overdue": WORD, "ended_by": WORD, "reason": WORD, "recall": WORD, "outcome": WORD,
}  # fmt: skip
# What the lists hold names things by words of ours; an id or text of the outside is only compared,
# so 16 bytes stand for it, or their 32 hexadecimal digits.
INNER_TEXT, INNER_BYTES = 36, 16
RESULT_KEY = 5 + 128  # of a cancel: the customer's id


def wide(characters: int, tail: str = "") -> str:
    """So many characters, of four bytes each but for the tail."""
    return "\U0001f600" * (characters - len(tail)) + tail


SOURCE, KEY = wide(64), wide(128)
ID = payment_intent_id(SOURCE, KEY)
WIDEST = Parties(
    Party(wide(140), "062000", "123456789"),
    Party(wide(140), None, None, "ORGN", wide(256)),
    wide(280),
)


class Flood:
    """A payment under inputs without end; after each, every part of its state is within its
    limit.
    """

    def __init__(self, **changes: Any) -> None:
        self.state: Payment | None = None
        self.now = d.START
        self.found: frozenset[str] = frozenset()
        self.case = d.Case()
        self.persons = 0
        self.widest = 0
        fields: dict[str, Any] = {
            "header": self.head(), "source": SOURCE, "idempotency_key": KEY,
            "parties": seal(WIDEST), "end_to_end_id": wide(35), "customer_id": wide(128),
            "uetr": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "requested_execution_time": d.START,
        }  # fmt: skip
        self.must(d.create(**(fields | changes)))

    @property
    def payment(self) -> Payment:
        assert self.state is not None
        return self.state

    @property
    def attempt(self) -> Attempt:
        return self.payment.attempts[-1]

    def head(self) -> Any:
        return msgspec.structs.replace(d.head(), payment_intent_id=ID)

    def give(self, command: Any) -> Decision:
        context = msgspec.structs.replace(
            self.case.context(command),
            now_ms=self.now,
            sources=frozenset({SOURCE}),
            open_parties=open_parties,
            recovered_submissions=self.found,
        )
        decision = decide(self.state, command, context)
        if isinstance(decision, Accepted):
            self.state = decision.state
            self.widest = max(self.widest, within_limits(decision.state))
        return decision

    def must(self, command: Any) -> Accepted:
        decision = self.give(command)
        assert isinstance(decision, Accepted), f"{command} gave {decision}"
        return decision

    def person(self) -> str:
        self.persons += 1
        return wide(128, f"{self.persons:06d}")

    def operator(self, name: str | None = None) -> OperatorHeader:
        return OperatorHeader(
            operator_id=name or self.person(),
            roles=("senior_operator",),
            token_id="t",
            not_after=2**60,
        )

    def report(self, kind: str, code: str | None = None, **changes: Any) -> c.RailReport:
        number = changes.pop("attempt", len(self.payment.attempts))
        reference = external_ref(ID, number)
        return c.RailReport(
            header=self.head(),
            external_ref=reference,
            kind=kind,
            adapter="simulator",
            code=code,
            **changes,
        )

    def ask(self, operation: str) -> s.FundsRequestStatus:
        return [ask for ask in self.attempt.funds_requests if ask.operation == operation][-1]

    def answer(self, operation: str, result: str, **changes: Any) -> c.DepositsResult:
        """To the current attempt's last request of the operation."""
        ask, number = self.ask(operation), len(self.payment.attempts)
        known = d.deposits(
            operation, result, attempt=number, number=ask.number, amount=ask.amount
        )  # the reference is of another payment
        reference = external_ref(ID, number) + known.funds_ref[30:]
        fields = {"header": self.head(), "funds_ref": reference}
        if result == "HELD":
            fields["hold_ref"] = wide(140)
        return msgspec.structs.replace(known, **(fields | changes))

    def passed(self) -> c.PolicyVerdict:
        reference = f"{external_ref(ID, len(self.payment.attempts))}P01"
        return msgspec.structs.replace(d.policy(), header=self.head(), policy_ref=reference)

    def request(self, action: str, person: str, **changes: Any) -> c.RequestApproval:
        return c.RequestApproval(
            header=self.head(),
            operator=self.operator(person),
            action=action,
            reason="please",
            **changes,
        )

    def decided(self, verdict: str, approval: str | None = None) -> c.ApprovalDecision:
        name = approval or self.payment.approvals[-1].id
        return c.ApprovalDecision(
            header=self.head(),
            approval_id=name,
            verdict=verdict,
            decided_by=self.person(),
            rules_evaluated=("rule",),
            policy_version="1",
        )

    def approve(self, action: str, **changes: Any) -> str:
        """Asked for and approved; the person who asked."""
        person = self.person()
        self.must(self.request(action, person, **changes))
        self.must(self.decided("APPROVED"))
        return person

    def again(self, operation: str) -> c.RepeatFundsRequest:
        number = len(self.payment.attempts)
        return c.RepeatFundsRequest(
            header=self.head(),
            operator=self.operator(),
            attempt=number,
            operation=operation,
            reason="again",
        )

    def refuse_to_the_limit(self, operation: str) -> None:
        """Deposits Core refuses, a person asks again, until there is one request left to make."""
        while made_again(self.payment) < funds.REQUESTS_MAX - 1:
            self.must(self.answer(operation, "REFUSED"))
            self.must(self.again(operation))

    def contradict(self, name: str) -> Decision:
        """A report that contradicts in all that a report can say."""
        return self.give(
            self.report(
                "SETTLED",
                wide(35, name),
                amount=2**62,
                currency=wide(64),
                rail_message_id=wide(140, name),
            )
        )

    def resolve_one(self) -> None:
        """A person ends the oldest conflict that is open, listed or only counted."""
        state = self.payment
        listed = [each for each in state.conflicts if each.verdict is None]
        if listed:
            conflict, attempt = listed[0].id, listed[0].attempt
        else:
            done = {key[1:].split(":")[0] for key in state.results if key[0] == "Q"}
            names = (f"cnf_{n:03d}" for n in range(1, state.conflicts_made + 1))
            conflict, attempt = next(n for n in names if n not in done), len(state.attempts)
        action, verdict = "RESOLVE_RECONCILIATION", "REPORT_WRONG"
        person = self.approve(action, conflict_id=conflict, verdict=verdict, attempt=attempt)
        operator = self.operator(person)
        self.must(
            c.ResolveReconciliation(
                header=self.head(),
                operator=operator,
                conflict_id=conflict,
                attempt=attempt,
                verdict=verdict,
                details="seen",
            )
        )

    def sent(self) -> Flood:
        self.must(self.passed())
        self.must(self.answer("HOLD", "HELD"))
        assert self.payment.state == "SENT"
        return self

    def retried(self) -> None:
        """The rail rejects it safely, and the next attempt begins."""
        self.must(self.report("REJECTED", "AB08"))
        self.must(self.answer("RELEASE", "RELEASED"))
        self.retry()

    def retry(self) -> None:
        person = self.approve("RETRY")
        name = f"att_{len(self.payment.attempts) + 1:03d}"
        self.must(
            c.RetryPayment(
                header=self.head(), operator=self.operator(person), attempt_id=name, reason="again"
            )
        )


def made_again(state: Payment) -> int:
    return sum(1 for attempt in state.attempts for ask in attempt.funds_requests if ask.number > 1)


def within_limits(state: Payment) -> int:
    """The packed size. Raises AssertionError when a part of the state is over its limit."""
    for holder, sizes, counters, texts in (
        (state, PAYMENT, PAYMENT_COUNTERS, PAYMENT_TEXTS),
        *((attempt, ATTEMPT, ATTEMPT_COUNTERS, ATTEMPT_TEXTS) for attempt in state.attempts),
    ):
        for name, most in sizes.items():
            assert len(getattr(holder, name)) <= most, name
        for name, most in counters.items():
            assert getattr(holder, name) <= most, name
        for name, most in texts.items():
            assert len(getattr(holder, name) or "") <= most, name
    entries: list[Any] = [*state.approvals, *state.conflicts, *state.notifications]
    for attempt in state.attempts:
        entries += [*attempt.funds_requests, *attempt.reports, *attempt.returns]
    for entry in [*entries, *state.conflicts_unlisted_keys]:
        for value in (entry,) if type(entry) is bytes else msgspec.structs.astuple(entry):
            assert type(value) is not str or len(value) <= INNER_TEXT
            assert type(value) is not bytes or len(value) <= INNER_BYTES
    assert all(len(key) <= RESULT_KEY for key in state.results)
    assert sum(len(attempt.funds_requests) for attempt in state.attempts) <= ASKS
    assert sum(len(attempt.returns) for attempt in state.attempts) <= s.RETURNS_MAX
    size = len(pack(state))
    assert size < PACKED_BYTES_MAX
    return size


def kinds_of(struct: type) -> dict[str, Any]:
    """Attribute → its type, without None."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(struct).items():
        arguments = [a for a in typing.get_args(hint) if a is not type(None)]
        optional = type(None) in typing.get_args(hint)
        found[name] = arguments[0] if optional and len(arguments) == 1 else hint
    return found


@pytest.mark.parametrize(
    ("struct", "sizes", "numbers", "texts"),
    [
        (Payment, PAYMENT, {*PAYMENT_COUNTERS, *PAYMENT_NUMBERS}, PAYMENT_TEXTS),
        (Attempt, ATTEMPT, {*ATTEMPT_COUNTERS, *ATTEMPT_NUMBERS}, ATTEMPT_TEXTS),
    ],
    ids=["Payment", "Attempt"],
)
def test_every_part_of_the_state_has_a_limit_here(
    struct: type, sizes: dict[str, int], numbers: set[str], texts: dict[str, int]
) -> None:
    """Engine, finding 15: every list, map and counter has a limit; a new one needs one too."""
    kinds = kinds_of(struct)
    assert {n for n, kind in kinds.items() if typing.get_origin(kind) in (list, dict)} == set(sizes)
    assert {name for name, kind in kinds.items() if kind is int} == numbers
    assert {name for name, kind in kinds.items() if kind in (str, bytes)} == set(texts)
    flags = {name for name, kind in kinds.items() if kind is bool}
    assert set(kinds) == {*sizes, *numbers, *texts, *flags}


@pytest.mark.parametrize(
    "struct", [s.FundsRequestStatus, s.SeenReport, s.Approval, s.Conflict, s.Notification]
)
def test_what_the_lists_hold_holds_no_list(struct: type) -> None:
    """Engine, finding 15: a limit on a list bounds nothing when its entries grow."""
    allowed = {int, str, bytes, bool}
    assert set(kinds_of(struct).values()) <= allowed


def test_the_widest_payment_stays_under_its_size() -> None:
    """Engine, finding 15: 20 attempts, 200 approvals, 64 open conflicts, requests to the limit,
    each id and code as long as it may be, of characters of four bytes.
    """
    flood = Flood()
    for number in range(1, ATTEMPTS + 1):
        flood.must(flood.report("RECEIVED", wide(35, "a")))
        if number == 1:
            flood.refuse_to_the_limit("HOLD")
        flood.sent()
        for kind in ("RECEIVED", "STATUS", "RECALL_REFUSED", "ACCEPTED"):
            flood.must(flood.report(kind, wide(35, kind), rail_message_id=wide(140, kind)))
        flood.must(flood.report("REJECTED", "AM05"))
        if number < ATTEMPTS:
            flood.retried()
    for index in range(s.CONFLICTS_OPEN_MAX):
        assert isinstance(flood.contradict(f"{index:04d}"), Accepted)
    while flood.payment.approvals_made < LIMITS.approvals_max - APPROVALS_KEPT:
        flood.resolve_one()
        flood.contradict(f"{flood.payment.conflicts_made:04d}")
    for _ in range(LIMITS.approvals_open_max):
        reason = "INSUFFICIENT_FUNDS"
        flood.must(flood.request("MARK_FAILED", flood.person(), failure_reason=reason))
        flood.must(flood.decided("REFERRED"))
    assert len(flood.payment.attempts) == ATTEMPTS
    assert open_conflicts(flood.payment) == s.CONFLICTS_OPEN_MAX
    assert len(flood.payment.conflicts) == CONFLICTS_KEPT
    assert len(flood.payment.approvals) == APPROVALS_KEPT
    assert made_again(flood.payment) == funds.REQUESTS_MAX - 1
    suspended = suspend(flood.payment, flood.case.context(flood.passed()), wide(10_000))
    (event,) = suspended.events
    assert isinstance(event, e.ProcessingSuspended)
    assert len(event.error) <= 300, "the record is bounded by itself"
    assert suspended.state.parked
    assert within_limits(suspended.state) < PACKED_BYTES_MAX


def test_twenty_holds_whose_references_are_as_long_as_can_be_stay_under_its_size() -> None:
    """Domain §3: a hold that stands after NEVER_HELD is released anew, for every attempt at
    once.
    """
    flood = Flood()
    for number in range(1, ATTEMPTS + 1):
        if number == 1:
            flood.sent()
            flood.retried()
            continue
        flood.must(flood.report("STATUS", wide(35, "s")))
        flood.now = flood.payment.deadline or flood.now
        while flood.payment.state == "AUTHORISED":
            flood.now = flood.payment.deadline or flood.now
            due = flood.payment.deadline_kind or ""
            flood.must(c.TimerDue(header=flood.head(), kind=due, deadline=flood.now))
        flood.must(flood.answer("RELEASE", "NEVER_HELD"))
        if number < ATTEMPTS:
            flood.retry()
    for number in range(2, ATTEMPTS + 1):
        hold = d.deposits("HOLD", "HELD", attempt=number)
        reference = external_ref(ID, number) + "H01"
        flood.must(
            msgspec.structs.replace(
                hold, header=flood.head(), funds_ref=reference, hold_ref=wide(140)
            )
        )
        again = msgspec.structs.replace(
            hold, header=flood.head(), funds_ref=reference.replace("H01", "R01"),
            operation="RELEASE", result="NEVER_HELD", hold_ref=None,
        )  # fmt: skip
        assert not isinstance(flood.give(again), Accepted), "said again, it is known"
    assert sum(bool(attempt.hold_ref) for attempt in flood.payment.attempts) == ATTEMPTS
    assert {a.funds for a in flood.payment.attempts[1:]} == {"RELEASE_REQUESTED"}


def test_a_hold_that_stands_and_does_not_stand_for_ever_moves_the_record_twice() -> None:
    """Domain §3: HELD after NEVER_HELD is released anew; the two in turn add nothing more."""
    flood = Flood()
    flood.must(flood.passed())
    while flood.payment.state == "CREATED":
        flood.now = flood.payment.deadline or flood.now
        flood.must(
            c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "", deadline=flood.now
            )
        )
    never = flood.answer("RELEASE", "NEVER_HELD")
    held = flood.answer("HOLD", "HELD")
    answers = [flood.give(each) for _ in range(500) for each in (never, held)]
    assert sum(isinstance(each, Accepted) for each in answers) == 2
    assert [ask.operation for ask in flood.attempt.funds_requests] == ["HOLD", "RELEASE", "RELEASE"]


# -- a limit and its rule -------------------------------------------------------------------------


def test_conflicts_of_a_recovery_have_a_limit() -> None:
    """Finding 15: reports for attempts that a recovered history lacks open at most 64."""
    flood = Flood().sent()
    flood.found = frozenset(external_ref(ID, number) for number in range(2, 100))
    answers = []
    for number in range(2, 100):
        for kind in KINDS:
            answers.append(flood.give(flood.report(kind, wide(35), attempt=number)))
            assert not isinstance(flood.give(flood.report(kind, attempt=number)), Accepted)
    assert sum(isinstance(answer, Accepted) for answer in answers) == s.RECOVERED_MAX
    assert answers[-1] == r.no_effect(r.CONFLICTS_FULL)


def test_resolved_conflicts_are_forgotten_oldest_first() -> None:
    """Finding 15: 16 resolved conflicts are remembered, so that their reports stay duplicates."""
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


def test_requests_that_people_repeat_have_a_limit_for_the_whole_payment() -> None:
    """Finding 15: what Deposits Core refuses without end is asked for 99 times again, not 99 times
    for each attempt.
    """
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


def test_returns_are_told_apart_up_to_a_limit_and_none_is_dropped() -> None:
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


def test_deposits_core_silent_for_years_adds_nothing_but_a_count() -> None:
    """Domain §3: silence is repeated without a last try; the state does not grow with it."""
    flood = Flood().sent()
    flood.must(flood.report("REJECTED", "AC01"))
    sizes = []
    for _ in range(400):
        flood.must(flood.answer("RELEASE", "FAILED", code=wide(140), details=wide(1_000)))
        flood.now = flood.payment.deadline or flood.now
        flood.must(
            c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "", deadline=flood.now
            )
        )
        sizes.append(len(pack(flood.payment)))
    assert flood.ask("RELEASE").repeat == 400
    assert max(sizes[-s.ENDS_KEPT * 2 :]) - min(sizes[: s.ENDS_KEPT * 2]) < 16 * s.ENDS_KEPT


# -- any sequence ---------------------------------------------------------------------------------


class Adversary:
    """Draws inputs that grow the state if anything does: other words, other people, other ids."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.flood = Flood()
        self.flood.sent()

    def word(self, characters: int) -> str:
        return wide(characters, f"{self.random.randrange(10**6):06d}")

    def report(self) -> c.RailReport:
        random = self.random
        odd = random.random() < 0.4
        code = random.choice([None, "AB08", "AC01", "AM05", "DUPL", "UNKNOWN", self.word(35)])
        return self.flood.report(
            random.choice(KINDS),
            code,
            attempt=random.randint(1, len(self.flood.payment.attempts)),
            amount=random.choice([None, d.AMOUNT, 1, 2**62]) if odd else None,
            currency=random.choice([None, "AUD", self.word(64)]) if odd else None,
            rail_message_id=random.choice([None, "m1", self.word(140)]),
            via_enquiry=random.random() < 0.3,
            adapter_stopped=random.random() < 0.5,
            details=self.word(1_000),
        )

    def deposits(self) -> c.DepositsResult:
        random, state = self.random, self.flood.payment
        attempt = random.choice(state.attempts)
        ask = random.choice(attempt.funds_requests)
        done = {
            "HOLD": ("HELD", "DECLINED"),
            "CAPTURE": ("CAPTURED",),
            "RELEASE": ("RELEASED", "NEVER_HELD"),
            "DEBIT_FORCED": ("DEBITED",),
            "REVERSE": ("REVERSED",),
            "CREDIT": ("CREDITED",),
        }[ask.operation]
        result = random.choice([*done, "REFUSED", "FAILED"])
        amount = ask.amount if random.random() < 0.8 else random.randint(1, 2**62)
        known = d.deposits(
            ask.operation, result, attempt=attempt.number, number=ask.number, amount=amount
        )
        reference = external_ref(ID, attempt.number) + known.funds_ref[30:]
        return msgspec.structs.replace(
            known,
            header=self.flood.head(),
            funds_ref=reference,
            hold_ref=self.word(140) if result == "HELD" else None,
            code=random.choice([None, "HOLD_GONE", self.word(140)]),
        )

    def person(self) -> list[Any]:
        """A request, Resolve's answer and the action, of somebody nobody has seen before."""
        flood, random = self.flood, self.random
        number = len(flood.payment.attempts)
        conflicts = [each for each in flood.payment.conflicts if each.verdict is None]
        person = flood.person()
        head, operator = flood.head(), flood.operator(person)
        verdict = random.choice(["SETTLED_AFTER_ALL", "NOT_PAID", "REPORT_WRONG", "REPORT_WRONG"])
        if conflicts and random.random() < 0.7:
            one = random.choice(conflicts)
            request = flood.request(
                "RESOLVE_RECONCILIATION", person, conflict_id=one.id, verdict=verdict
            )
            act: Any = c.ResolveReconciliation(
                header=head,
                operator=operator,
                conflict_id=one.id,
                attempt=one.attempt,
                verdict=verdict,
                details="x",
            )
        else:
            name = f"att_{number + 1:03d}"
            operation = random.choice(["HOLD", "RELEASE", "CAPTURE", "CREDIT", "DEBIT_FORCED"])
            pairs: list[tuple[Any, Any]] = [
                (
                    flood.request("RETRY", person),
                    c.RetryPayment(header=head, operator=operator, attempt_id=name, reason="x"),
                ),
                (flood.request("CANCEL", person), flood.passed()),
                (
                    flood.request("MARK_FAILED", person, failure_reason="TIMEOUT"),
                    c.MarkPaymentFailed(
                        header=head, operator=operator, reason="TIMEOUT", details="x"
                    ),
                ),
                (flood.again(operation), flood.again(operation)),
                (
                    flood.request("REVERSE", person, attempt=number),
                    c.ReverseCapture(header=head, operator=operator, attempt=number, reason="x"),
                ),
            ]
            request, act = random.choice(pairs)
        approval = f"apr_{flood.payment.approvals_made + 1:03d}"
        return [request, flood.decided(random.choice(["APPROVED"] * 4 + ["REJECTED"]), approval),
                act]  # fmt: skip

    def step(self) -> None:
        flood, random = self.flood, self.random
        drawn = random.random()
        if drawn < 0.45:
            flood.give(self.report())
        elif drawn < 0.65:
            flood.give(self.deposits())
        elif drawn < 0.75:
            for command in self.person():
                flood.give(command)
        elif drawn < 0.85:
            flood.give(flood.passed())
            flood.give(flood.answer("HOLD", "HELD"))
        elif flood.payment.deadline is not None and drawn < 0.95:
            flood.now = max(flood.now, flood.payment.deadline)
            due = c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "", deadline=flood.now
            )
            flood.give(due)


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_stays_under_the_size(seed: int) -> None:
    """Engine, finding 15: after each of 1,500 drawn inputs every part is within its limit. The seed
    in the test's name repeats it.
    """
    adversary = Adversary(seed)
    for _ in range(1_500):
        adversary.step()
    state = adversary.flood.payment
    suspended = suspend(state, adversary.flood.case.context(adversary.flood.passed()), "defect")
    assert within_limits(suspended.state) < PACKED_BYTES_MAX
