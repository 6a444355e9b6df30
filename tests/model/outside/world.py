"""The outside of a payment: the effect of a sequence's moves there, and the resulting inputs.

Moves are complete values (vocabulary), so playing them always gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.payment import commands as c
from core.payment.instructions import (
    ApprovalRequest,
    CustomerNotification,
    DepositsRequest,
    PolicyCheckRequest,
    RailInstruction,
)
from core.values import ExternalRef
from tests.model.outside import people
from tests.model.outside.deposits import Bank
from tests.model.outside.people import Inputs, pick
from tests.model.outside.rail import Rail, Submission, gives_certainty
from tests.model.step import Truth
from tests.model.vocabulary import (
    AMOUNT,
    KEY,
    SEALED,
    SOURCE,
    Move,
    attempt_of,
    head,
    reference,
)


class World:
    """Rail, Deposits Core, Resolve and undelivered messages. `state` is core's, for its
    deadline.
    """

    def __init__(self) -> None:
        self.rail = Rail()
        self.bank = Bank()
        self.truth = Truth(self.rail)
        self.now = 0
        self.mail: list[Any] = []  # written by the outside, not yet delivered
        self.lost: list[Any] = []  # delivered only by a rail that sends again
        self.delivered: list[Any] = []
        self.checks: list[PolicyCheckRequest] = []
        self.requests: list[ApprovalRequest] = []
        self.notifications: list[CustomerNotification] = []
        self.attempts = 1
        self.misjudged = False  # a verdict ignored the rail's ledger

    # -- instructions from core --------------------------------------------------------------------

    def receive(self, instruction: Any) -> None:
        match instruction:
            case RailInstruction():
                if instruction.kind == "SUBMIT":
                    self.truth.excused.discard(instruction.attempt)
                self.rail.receive(instruction)
            case DepositsRequest():
                self.bank.receive(instruction)
            case PolicyCheckRequest():
                self.checks.append(instruction)
            case ApprovalRequest():
                self.requests.append(instruction)
            case CustomerNotification():
                self.notifications.append(instruction)

    def learned(self, events: list[Any]) -> None:
        """The outside learns of new attempts from the history."""
        for event in events:
            if type(event).__name__ == "PaymentAttemptCreated":
                self.attempts = max(self.attempts, event.header.attempt)

    # -- moves --------------------------------------------------------------------------------

    def play(self, move: Move) -> Inputs:
        """The inputs that a move makes, in order."""
        yield from _MOVES[move.name](self, move.args)

    def attempt(self, selector: Any) -> int:
        """`selector` 0 is the current attempt, -1 the previous one, above 0 that number."""
        number = int(selector)
        return number if number > 0 else max(1, self.attempts + number)

    def post(self, message: Any, how: str) -> Inputs:
        """Deliver now, later, twice, or never."""
        if message is None:
            return
        if how == "later":
            self.mail.append(message)
        if how == "never":
            self.lost.append(message)
        if how in {"now", "twice"}:
            yield from self.deliver(message)
        if how == "twice":
            yield from self.deliver(message)

    def deliver(self, message: Any) -> Inputs:
        if type(message) is c.RailReport:
            self.judge_lie(message)
        self.delivered.append(message)
        yield message, None

    def judge_lie(self, report: c.RailReport) -> None:
        number = attempt_of(report.external_ref)
        mine = self.rail.submissions.get(number or 0)
        if mine is not None and gives_certainty(report) and mine.may_settle(self.now):
            self.truth.excused.add(mine.attempt)


# -- upstream, time, policy ------------------------------------------------------------------


def _create(world: World, args: dict[str, Any]) -> Inputs:
    fields: dict[str, Any] = {
        "header": head(), "source": SOURCE, "idempotency_key": KEY, "amount": AMOUNT,
        "currency": "AUD", "parties": SEALED, "end_to_end_id": "E2E-1", "service": "x2p1",
    }  # fmt: skip
    changes = dict(args)
    for name in ("requested_execution_time", "expires_at"):
        if changes.get(name) is not None:
            changes[name] += world.now
    yield c.CreatePayment(**(fields | changes)), "upstream"


def _expire(world: World, args: dict[str, Any]) -> Inputs:
    yield c.ExpirePayment(header=head(), operator=None, reason="too late"), "upstream"


def _policy(world: World, args: dict[str, Any]) -> Inputs:
    check = pick(world.checks, args["which"])
    if check is None:
        return
    verdict = args["verdict"]
    reason = args.get("reason", "FRAUD") if verdict == "DECLINED" else None
    message = c.PolicyVerdict(
        header=head(),
        policy_ref=check.policy_ref,
        verdict=verdict,
        phase=check.phase,
        rules_evaluated=("limits",),
        policy_version="1",
        failure_reason=reason,
    )
    yield from world.post(message, args["how"])


def _stray_policy(world: World, args: dict[str, Any]) -> Inputs:
    ref = f"{reference(world.attempt(args['attempt']))}P{args['number']:02d}"
    yield (
        c.PolicyVerdict(
            header=head(),
            policy_ref=ref,
            verdict=args["verdict"],
            phase=args["phase"],
            rules_evaluated=(),
            policy_version="1",
            failure_reason="FRAUD",
        ),
        None,
    )


def _timer_odd(world: World, args: dict[str, Any]) -> Inputs:
    yield c.TimerDue(header=head(), kind=args["kind"], deadline=world.now + args["ms"]), None


def _notified(world: World, args: dict[str, Any]) -> Inputs:
    requested = pick(world.notifications, args["which"])
    if requested is not None:
        yield (
            c.NotificationResult(
                header=head(),
                notification_id=requested.notification_id,
                kind=requested.kind,
                result=args["result"],
            ),
            None,
        )


# -- the rail --------------------------------------------------------------------------------


def _submit(world: World, args: dict[str, Any]) -> Inputs:
    world.rail.submit(world.attempt(args["attempt"]), args["how"], world.now)
    yield from ()


def _rail_move(world: World, args: dict[str, Any]) -> Inputs:
    number = world.attempt(args["attempt"])
    report = world.rail.move(number, args["status"], args.get("code"))
    yield from world.post(report, args["how"])


def _rail_settle(world: World, args: dict[str, Any]) -> Inputs:
    number = world.attempt(args["attempt"])
    report = world.rail.settle(number, AMOUNT + args.get("off", 0))
    if report is not None and args.get("silent_amount"):
        report = world.rail.report(number, "SETTLED", message_id=report.rail_message_id)
    yield from world.post(report, args["how"])


def _rail_return(world: World, args: dict[str, Any]) -> Inputs:
    number = world.attempt(args["attempt"])
    report = world.rail.give_back(number, args["amount"])
    yield from world.post(report, args["how"])


def _rail_answer(world: World, args: dict[str, Any]) -> Inputs:
    requested = pick(world.rail.instructions, args["which"])
    if requested is not None:
        report = world.rail.answer(requested, world.now, accept_recall=args.get("accept", True))
        yield from world.post(report, args["how"])


def _rail_enquiry(world: World, args: dict[str, Any]) -> Inputs:
    report = world.rail.enquire(world.attempt(args["attempt"]), world.now)
    yield from world.post(report, args["how"])


def _rail_record(world: World, args: dict[str, Any]) -> Inputs:
    number = world.attempt(args["attempt"])
    mine = world.rail.submissions.setdefault(number, Submission(number, 0))
    mine.incomplete = True
    yield from ()


def _rail_says(world: World, args: dict[str, Any]) -> Inputs:
    """Any report that the move names, true or not."""
    number = world.attempt(args["attempt"])
    report = c.RailReport(
        header=head(),
        external_ref=ExternalRef(args.get("ref") or reference(number)),
        kind=args["kind"],
        adapter=args.get("adapter", "simulator"),
        code=args.get("code"),
        amount=args.get("amount"),
        currency=args.get("currency"),
        rail_message_id=args.get("id"),
        submitted_at=args.get("sent"),
        answered_at=args.get("sent"),
        via_enquiry=args.get("via", False),
        adapter_stopped=args.get("stopped", False),
    )
    yield from world.deliver(report)


# -- mail ------------------------------------------------------------------------------------


def _post(world: World, args: dict[str, Any]) -> Inputs:
    message = pick(world.mail, args["which"])
    if message is not None:
        world.mail.remove(message)
        yield from world.deliver(message)


def _again(world: World, args: dict[str, Any]) -> Inputs:
    message = pick(world.delivered, args["which"])
    if message is not None:
        yield from world.deliver(message)


# -- Deposits Core ---------------------------------------------------------------------------


def _bank(world: World, args: dict[str, Any]) -> Inputs:
    """Deposits Core processes a request: does it, does it silently, loses it, or refuses it."""
    request = pick(world.bank.requests, args["which"])
    if request is None:
        return
    match args["mode"]:
        case "do":
            answer = world.bank.handle(request, world.now)
        case "do_silently":
            world.bank.handle(request, world.now)
            answer = world.bank.silence(request)
        case "lose":
            answer = world.bank.silence(request)
        case _:
            code = "DECLINED" if args["mode"] == "decline" else args.get("code", "LIMIT")
            if code == "DECLINED" and request.operation != "HOLD":
                code = "LIMIT"
            answer = world.bank.refuse(request, code)
    yield from world.post(answer, args["how"])


def _bank_expires(world: World, args: dict[str, Any]) -> Inputs:
    world.bank.expire_hold(args["which"])
    yield from ()


def _bank_says(world: World, args: dict[str, Any]) -> Inputs:
    """Any answer that the move names; from then on the ledger proves nothing."""
    request = pick(world.bank.requests, args["which"])
    if request is None:
        return
    world.bank.lied = True
    hold = f"hold-{request.funds_ref}" if args.get("hold") else None
    yield from world.deliver(
        c.DepositsResult(
            header=head(),
            funds_ref=args.get("ref") or request.funds_ref,
            operation=args.get("operation") or request.operation,
            result=args["result"],
            amount=request.amount + args.get("off", 0),
            hold_ref=hold,
            code=args.get("code"),
        )
    )


_MOVES: dict[str, Callable[[World, dict[str, Any]], Inputs]] = {
    "create": _create,
    "expire": _expire,
    "policy": _policy,
    "stray_policy": _stray_policy,
    "timer_odd": _timer_odd,
    "notified": _notified,
    "submit": _submit,
    "rail_move": _rail_move,
    "rail_settle": _rail_settle,
    "rail_return": _rail_return,
    "rail_answer": _rail_answer,
    "rail_enquiry": _rail_enquiry,
    "rail_record": _rail_record,
    "rail_says": _rail_says,
    "post": _post,
    "again": _again,
    "bank": _bank,
    "bank_expires": _bank_expires,
    "bank_says": _bank_says,
    "ask": people.ask,
    "resolve": people.resolve,
    "person": people.person,
    "act": people.act,
}
