"""Draws the moves of a sequence from the payment's current state, so that deep states are reached.

Half of the moves are the natural next ones; the others are adversarial, as the sequence's temper
allows. Everything is drawn from one `random.Random`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from tests.model.book import Book
from tests.model.laws.rail import unfit
from tests.model.moves.mischief import bank_lie, flood, oddity, rail_lie
from tests.model.moves.prologue import Moves, prologue
from tests.model.play import Play
from tests.model.vocabulary import (
    AMOUNT,
    APPROVER,
    DAY,
    HOUR,
    MINUTE,
    OPERATOR,
    OTHER_APPROVER,
    OTHER_SENIOR,
    SECOND,
    SENIOR,
    SENIOR_IN_DISGUISE,
    VERDICTS,
    VIEWER,
    Move,
)

ACTIONS = (
    "RETRY", "RETRY_UNCERTAIN", "CANCEL", "MARK_FAILED", "EXPIRE", "RESOLVE_RECONCILIATION",
    "RELEASE_EARLY", "REVERSE", "DEBIT_AGAIN",
)  # fmt: skip


class Temper(NamedTuple):
    """The character of a sequence: its name, its length, and the weight of each kind of
    mischief.
    """

    name: str
    moves: int
    rail_lies: int
    bank_lies: int
    people: int
    time: int
    honest: bool  # the outside keeps its contracts; the strongest laws hold


TEMPERS = (
    Temper("honest", 34, 0, 0, 3, 3, True),
    Temper("honest people", 44, 0, 0, 8, 3, True),
    Temper("rail", 38, 8, 0, 3, 2, False),
    Temper("bank", 38, 0, 8, 3, 2, False),
    Temper("people", 44, 2, 0, 10, 2, False),
    Temper("everything", 55, 5, 3, 5, 3, False),
    Temper("clock", 34, 1, 0, 2, 10, False),
    Temper("flood", 30, 1, 0, 2, 2, False),
)
WEIGHTS = (10, 10, 10, 10, 10, 14, 8, 1)


class Generator:
    """Draws moves for one play."""

    def __init__(self, rng: Random, play: Play) -> None:
        self.rng, self.play = rng, play
        self.temper = rng.choices(TEMPERS, WEIGHTS)[0]
        self.serial = 0
        self.begun = False

    @property
    def book(self) -> Book:
        return self.play.judge.book

    def next(self) -> Moves:
        """The next few moves."""
        rng, temper = self.rng, self.temper
        if not self.begun and rng.random() < 0.9:
            self.begun = True
            return [self._create(), *prologue(rng)]
        if self.play.state is None and rng.random() < 0.85:
            return [self._create()]
        if temper.name == "flood" and rng.random() < 0.06:
            return flood(rng)
        natural, lies = 12, temper.rail_lies
        kinds: list[tuple[int, Callable[[], Moves]]] = [
            (natural, self._natural),
            (lies, self._rail_lie),
            (temper.bank_lies, self._bank_lie),
            (temper.people, self._people),
            (temper.time, self._time),
            (2, self._mail),
            (2, self._rail),
            (2, self._bank),
            (0 if temper.honest else 1, self._odd),
        ]
        weights = [weight for weight, _ in kinds]
        return rng.choices([make for _, make in kinds], weights)[0]()

    # -- helpers ------------------------------------------------------------------------------

    def _how(self) -> str:
        return self.rng.choices(("now", "later", "twice", "never"), (10, 3, 1, 1))[0]

    def _attempt(self) -> int:
        return self.rng.choices((0, -1, 1, 2, self.rng.randint(3, 20)), (10, 3, 3, 1, 1))[0]

    def _id(self) -> str | None:
        self.serial += 1
        reused = f"M{self.rng.randint(1, 6):04d}"
        return self.rng.choices((None, f"X{self.serial:04d}", reused), (3, 6, 2))[0]

    def _create(self) -> Move:
        rng = self.rng
        args: dict[str, Any] = {}
        if rng.random() < 0.06:
            args["requested_execution_time"] = rng.choice(
                (MINUTE, 20 * MINUTE, 3 * HOUR, 23 * HOUR)
            )
        if rng.random() < 0.1:
            base = args.get("requested_execution_time", 0)
            args["expires_at"] = base + rng.choice((MINUTE, 12 * MINUTE, 2 * HOUR))
        if rng.random() < 0.2:
            args["customer_id"] = "cust_1"
        if rng.random() < 0.04:
            odd: list[tuple[str, Any]] = [
                ("amount", 0), ("amount", -5), ("amount", 10**12), ("currency", "USD"),
                ("idempotency_key", "other"), ("source", "other"), ("service", "x9"),
                ("end_to_end_id", "E" * 36), ("end_to_end_id", ""), ("customer_id", "c" * 5000),
            ]  # fmt: skip
            name, value = rng.choice(odd)
            args[name] = value
        return Move("create", args)

    # -- natural moves -----------------------------------------------------------------------------

    def _natural(self) -> Moves:
        rng, book = self.rng, self.book
        if book.state is None:
            return [self._create()]
        choices: list[tuple[int, Callable[[], Moves]]] = [(1, self._time)]
        asks = book.open_asks()
        if asks:
            choices.append((6, self._bank))
        if not book.current.policy and self.play.world.checks and book.current.state != "SENT":
            choices.append((6, self._policy))
        if book.state in {"SENT", "ACKNOWLEDGED"}:
            choices += [(6, self._rail), (1, self._gated)]
        if book.open_conflicts():
            choices.append((6, self._resolve_conflict))
        if book.state in {"FAILED", "EXPIRED"}:
            choices += [(4, self._gated), (2, self._rail), (2, self._time)]
        if book.state == "SETTLED":
            choices += [(3, self._gated), (3, self._return)]
        return rng.choices([make for _, make in choices], [weight for weight, _ in choices])[0]()

    def _policy(self) -> Moves:
        verdict = self.rng.choices(("PASSED", "DECLINED"), (14, 1))[0]
        reason = self.rng.choice(("FRAUD", "INVALID_ACCOUNT"))
        args = {"which": -1, "verdict": verdict, "reason": reason, "how": self._how()}
        return [Move("policy", args)]

    def _bank(self) -> Moves:
        rng = self.rng
        requests = self.play.world.bank.requests
        if not requests:
            return [self._wait()]
        open_refs = {ask.funds_ref for ask in self.book.open_asks()}
        which = len(requests) - 1
        wanted = [i for i, each in enumerate(requests) if each.funds_ref in open_refs]
        if wanted and rng.random() < 0.8:
            which = rng.choice(wanted)
        elif rng.random() < 0.3:
            which = rng.randrange(len(requests))
        modes = ("do", "do_silently", "lose", "refuse", "decline", "gone")
        mode = rng.choices(modes, (20, 2, 2, 1, 1, 1))[0]
        args: dict[str, Any] = {"which": which, "mode": mode, "how": self._how()}
        if mode == "gone":
            return [Move("bank_expires", {"which": 0}), Move("bank", {**args, "mode": "do"})]
        return [Move("bank", args)]

    def _rail(self) -> Moves:
        rng = self.rng
        number = rng.choices((0, -1, -2), (8, 2, 1))[0]
        mine = self.play.world.rail.of(self.play.world.attempt(number))
        if mine.status == "UNSEEN":
            how = rng.choices(("done", "lost", "unanswered"), (10, 1, 2))[0]
            choices = [Move("submit", {"attempt": number, "how": how}), *self._answers()]
            return [rng.choice(choices)]
        if mine.status == "SETTLED":
            return self._return() if rng.random() < 0.4 else self._answers()
        pick = rng.random()
        how = self._how()
        if pick < 0.15:
            args = {"attempt": number, "status": "RECEIVED", "how": how}
            return [Move("rail_move", args)]
        if pick < 0.45:
            return [Move("rail_move", {"attempt": number, "status": "ACCEPTED", "how": how})]
        if pick < 0.75:
            off = rng.choices((0, -50, 1_000), (12, 1, 1))[0]
            silent = off == 0 and rng.random() < 0.2
            args = {"attempt": number, "off": off, "silent_amount": silent, "how": how}
            return [Move("rail_settle", args)]
        if pick < 0.92:
            code = rng.choice(("AB08", "AB03", "AC04", "FRAD", "ZZ99"))
            args = {"attempt": number, "status": "REJECTED", "code": code, "how": how}
            return [Move("rail_move", args)]
        if pick < 0.95:
            args = {"attempt": number, "status": "EXPIRED", "code": "MD20", "how": how}
            return [Move("rail_move", args)]
        return self._answers()

    def _answers(self) -> Moves:
        instructions = self.play.world.rail.instructions
        if not instructions:
            return [self._wait()]
        which = -1 - min(int(self.rng.expovariate(0.8)), len(instructions) - 1)
        accept = self.rng.random() < 0.6
        return [Move("rail_answer", {"which": which, "accept": accept, "how": self._how()})]

    def _return(self) -> Moves:
        amount = self.rng.choice((AMOUNT, 5_000, 3_000, 1))
        number = self.rng.choices((0, -1), (5, 1))[0]
        return [Move("rail_return", {"attempt": number, "amount": amount, "how": self._how()})]

    # -- mischief and mail -----------------------------------------------------------------------

    def _rail_lie(self) -> Moves:
        return rail_lie(self.rng, self._attempt(), self._id())

    def _bank_lie(self) -> Moves:
        requests = self.play.world.bank.requests
        return bank_lie(self.rng, requests) if requests else [self._wait()]

    def _odd(self) -> Moves:
        return oddity(self.rng, self._attempt())

    def _mail(self) -> Moves:
        world, rng = self.play.world, self.rng
        if world.mail and rng.random() < 0.7:
            return [Move("post", {"which": rng.randrange(len(world.mail))})]
        if world.delivered:
            which = -1 - min(int(rng.expovariate(0.3)), len(world.delivered) - 1)
            return [Move("again", {"which": which})]
        return [self._wait()]

    # -- time ---------------------------------------------------------------------------------

    def _wait(self) -> Move:
        rng = self.rng
        spans = (SECOND, 10 * SECOND, 31 * SECOND, MINUTE, 3 * MINUTE, 11 * MINUTE, HOUR, DAY)
        span = rng.choices(spans, (6, 6, 4, 4, 3, 3, 2, 1))[0]
        args: dict[str, Any] = {"ms": span + rng.randrange(SECOND), "late": rng.random() < 0.25}
        if rng.random() < 0.1:
            args["behind"] = rng.choice((1, SECOND, 50 * SECOND))
        return Move("later", args)

    def _time(self) -> Moves:
        state, rng = self.play.state, self.rng
        if state is not None and state.deadline is not None and rng.random() < 0.5:
            left = max(0, state.deadline - self.play.now)
            return [Move("later", {"ms": max(0, left + rng.choice((-1, 0, 1, 500)))})]
        return [self._wait()]

    # -- operators ---------------------------------------------------------------------------------

    def _people(self) -> Moves:
        rng = self.rng
        pick = rng.random()
        if self.book.state is None:
            return [Move("act", {"action": "CANCEL", "who": SENIOR})]
        if pick < 0.45:
            return self._gated()
        if pick < 0.6:
            return [self._act(rng.choice(ACTIONS))]
        if pick < 0.7:
            action = rng.choice(ACTIONS)
            return [Move("ask", {**self._params(action), "action": action, "who": SENIOR})]
        if pick < 0.85:
            return [self._decision()]
        if pick < 0.92 and self.book.refused_asks():
            ask = rng.choice(self.book.refused_asks())
            args = {"action": "REPEAT", "who": SENIOR, "attempt": ask.attempt}
            return [Move("act", {**args, "operation": ask.operation})]
        operation = rng.choice(("HOLD", "CAPTURE", "RELEASE", "DEBIT_FORCED", "REVERSE", "CREDIT"))
        args = {"action": "REPEAT", "who": SENIOR, "attempt": 0, "operation": operation}
        return [Move("act", args)]

    def _decision(self) -> Move:
        rng = self.rng
        which = -rng.randint(1, 3)
        verdict = rng.choice(("APPROVED", "REJECTED", "REFERRED"))
        if rng.random() < 0.5:
            who = rng.choices(("policy", SENIOR, SENIOR_IN_DISGUISE), (8, 1, 1))[0]
            args = {"which": which, "verdict": verdict, "who": who, "how": self._how()}
            return Move("resolve", args)
        who = rng.choice((APPROVER, OTHER_APPROVER, SENIOR, SENIOR_IN_DISGUISE, VIEWER))
        verdict = rng.choice(("APPROVED", "REJECTED"))
        return Move("person", {"which": which, "verdict": verdict, "who": who})

    def _fitting(self) -> str:
        """An action that fits the payment's state."""
        rng, book = self.rng, self.book
        if book.open_conflicts():
            return "RESOLVE_RECONCILIATION"
        match book.state:
            case "CREATED" | "AUTHORISED":
                return "CANCEL"
            case "SENT":
                return rng.choice(("CANCEL", "MARK_FAILED", "MARK_FAILED", "EXPIRE"))
            case "ACKNOWLEDGED":
                return rng.choice(("MARK_FAILED", "MARK_FAILED", "EXPIRE"))
            case "SETTLED":
                return rng.choices(("REVERSE", "DEBIT_AGAIN"), (3, 1))[0]
            case _ if book.current.reason in {"RAIL", "TIMEOUT"} and book.current.claimed:
                return "RETRY"
            case _:
                return rng.choice(("RETRY_UNCERTAIN", "RETRY_UNCERTAIN", "RELEASE_EARLY"))

    def _params(self, action: str) -> dict[str, Any]:
        rng, book = self.rng, self.book
        args: dict[str, Any] = {}
        if action == "MARK_FAILED":
            reasons = ("RAIL", "TIMEOUT", "FRAUD", "INVALID_ACCOUNT")
            args["failure_reason"] = rng.choices(reasons, (5, 5, 1, 1))[0]
        if action == "RESOLVE_RECONCILIATION":
            conflicts = book.open_conflicts()
            mine = rng.choice(conflicts) if conflicts else None
            args["conflict"] = int(mine.identity[4:]) if mine else 1
            args["attempt"] = mine.attempt if mine else 1
            amount = rng.choice((AMOUNT, 5_000, 1))
            fitting = [
                verdict
                for verdict in VERDICTS
                if mine is not None and unfit(book, mine, mine.attempt, verdict, amount) is None
            ]
            args["verdict"] = rng.choice(fitting if fitting and rng.random() < 0.8 else VERDICTS)
            if args["verdict"] == "RETURNED" or rng.random() < 0.05:
                args["amount"] = amount
        if action in {"RELEASE_EARLY", "REVERSE", "DEBIT_AGAIN"}:
            args["attempt"] = self._attempt() if rng.random() < 0.3 else 0
            paid = [each.number for each in book.tries if each.settled]
            if paid and action != "RELEASE_EARLY":
                args["attempt"] = rng.choice(paid)
        return args

    def _act(self, action: str, params: dict[str, Any] | None = None) -> Move:
        rng = self.rng
        params = self._params(action) if params is None else params
        who = rng.choices((SENIOR, OTHER_SENIOR, OPERATOR, VIEWER, APPROVER), (30, 1, 1, 1, 1))[0]
        args = {**params, "action": "RETRY" if action == "RETRY_UNCERTAIN" else action, "who": who}
        if rng.random() < 0.03:
            args["late"] = rng.choice((1, MINUTE))
        if rng.random() < 0.05:
            args["named"] = -rng.randint(1, 3)
        if args["action"] == "RETRY" and rng.random() < 0.05:
            args["number"] = rng.randint(1, 22)
        return Move("act", args)

    def _gated(self) -> Moves:
        """Requested, approved and done, sometimes with something in between."""
        rng = self.rng
        action = self._fitting() if rng.random() < 0.9 else rng.choice(ACTIONS)
        return self._approved(action, self._params(action))

    def _approved(self, action: str, params: dict[str, Any]) -> Moves:
        rng = self.rng
        moves = [Move("ask", {**params, "action": action, "who": SENIOR})]
        by_person = action == "RETRY_UNCERTAIN" or rng.random() < 0.4
        verdict = "REFERRED" if by_person else "APPROVED"
        moves.append(Move("resolve", {"which": -1, "verdict": verdict, "how": "now"}))
        if by_person:
            args = {"which": -1, "verdict": "APPROVED", "who": APPROVER}
            moves.append(Move("person", args))
        if rng.random() < 0.15:
            moves += self._time() if rng.random() < 0.3 else self._rail()
        moves.append(self._act(action, params))
        return moves

    def _resolve_conflict(self) -> Moves:
        conflicts = self.book.open_conflicts()
        if not conflicts:
            return [self._wait()]
        moves = self._approved("RESOLVE_RECONCILIATION", self._params("RESOLVE_RECONCILIATION"))
        if self.rng.random() < 0.25:
            return [Move("probe", {"which": self.rng.randrange(len(conflicts))}), *moves]
        return moves
