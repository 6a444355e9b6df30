"""The outside becomes honest, and operators decide everything: the payment comes to rest.

Anything still open then is a defect: an answer that is not requested, a conflict without a verdict,
a hold.
"""

from __future__ import annotations

from typing import Any

from core.decider import Accepted, Duplicate, Refusal
from core.payment.commands import RailReport
from core.payment.state import at_rest
from tests.model.book import Conflict
from tests.model.laws import money
from tests.model.play import Play
from tests.model.vocabulary import AMOUNT, APPROVER, DONE_OF, LIVE, SENIOR, Move

ROUNDS_MAX = 300
NUMBERS_END = "99"  # of a fundsRef: two digits
APPROVALS_MAX = 100  # of 200: the operators need the rest
INSISTS_MAX = 8  # how often the rail repeats a report that operators wrongly called wrong
AGAIN_MAX = 80  # conflicts of one kind, each ended by a verdict


class Quiet:
    """Brings one play to rest, or breaks the law `liveness`."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.answered = 0  # instructions of the rail that were answered in this phase
        self.tried: dict[str, int] = {}
        self.insisted: dict[str, int] = {}  # of these, opened in this phase
        self.repeats = 0
        self.open_before: set[str] = set()

    def run(self, *, honest: bool) -> None:
        """Raises play.Stop if the payment does not come to rest, or rests with wrong money."""
        play = self.play
        if play.state is None or len(play.judge.book.approvals) > APPROVALS_MAX:
            return
        honest = honest and not play.world.misjudged
        self.open_before = {each.identity for each in play.judge.book.open_conflicts()}
        for _ in range(ROUNDS_MAX):
            if self._insists_on_lost_amount():
                return
            if self._round():
                continue
            if any(ask.funds_ref.endswith(NUMBERS_END) for ask in play.judge.book.refused_asks()):
                return  # refused 99 times: there is no further number
            state = play.state
            if at_rest(state):
                self._rested(honest=honest)
                return
            if state.deadline is None:
                play.break_law("liveness", f"not at rest, and nothing is waited for: {self._why()}")
                return
            play.wait(max(0, state.deadline - play.now), late=False)
        play.break_law("liveness", f"not at rest after {ROUNDS_MAX} rounds: {self._why()}")

    def _insists_on_lost_amount(self) -> bool:
        """Deposits Core lied, or the log lost the request: it keeps reporting an amount that cannot
        have moved. Each answer is a conflict; operators end it there.
        """
        tried = sum(n for kind, n in self.tried.items() if kind.startswith("FUNDS_CONTRADICTION"))
        return self.play.world.bank.lied and tried > INSISTS_MAX

    def _why(self) -> str:
        book = self.play.judge.book
        texts = list(money.nothing_held(book))
        funds = [(t.number, t.state, t.settled, book.net(t.number)) for t in book.tries]
        return f"{book.state}, deadline {self.play.state.deadline_kind}, {funds}, {texts}"

    def _round(self) -> bool:
        """Do what is due now; false if that changed nothing."""
        before = self.play.state
        for work in (self._mail, self._rail, self._bank, self._policy, self._approvals):
            work()
        for work in (self._conflicts, self._refused, self._second_debits, self._overdue):
            work()
        return self.play.state is not before

    def _give(self, message: Any) -> Any:
        world = self.play.world
        decision = None
        for command, origin in world.deliver(message):
            decision = self.play.give(command, origin)
        return decision

    def _mail(self) -> None:
        world = self.play.world
        while world.mail:
            self._give(world.mail.pop(0))
        lost, world.lost = world.lost, []
        for message in lost:  # the gateway sends a callback until it is accepted
            if type(message) is RailReport and message.rail_message_id is not None:
                self._give(message)

    def _rail(self) -> None:
        world = self.play.world
        rail = world.rail
        for number, mine in sorted(rail.submissions.items()):
            if mine.record == "NONE" and mine.instructed and mine.status == "UNSEEN":
                withdraw = any(
                    i.kind == "WITHDRAW" and i.attempt == number for i in rail.instructions
                )
                if not withdraw:
                    rail.submit(number, "done", world.now)
                    report = rail.too_late(number, world.now)
                    if report is not None:
                        self._give(report)
        if self.answered == 0:
            self.answered = max(0, len(rail.instructions) - 6)
        while self.answered < len(rail.instructions):
            instruction = rail.instructions[self.answered]
            self.answered += 1
            report = rail.answer(instruction, world.now)
            said = [n for kind, n in self.insisted.items() if not kind.startswith("FUNDS_")]
            tired = world.misjudged and max(said, default=0) > INSISTS_MAX
            if report is not None and not tired:
                self._give(report)
        for number, mine in sorted(rail.submissions.items()):
            if mine.unfinished(world.now) and mine.status in {"RECEIVED", "ACCEPTED"}:
                report = rail.settle(number, AMOUNT)
                if report is not None:
                    self._give(report)

    def _bank(self) -> None:
        world, book = self.play.world, self.play.judge.book
        for ask in [each for each in book.asks.values() if each.status == "OPEN"]:
            request = next(r for r in world.bank.requests if r.funds_ref == ask.funds_ref)
            if world.bank.lied:  # its ledger means nothing any more; it confirms everything
                hold = f"hold-{request.hold_funds_ref or request.funds_ref}"
                self._give(world.bank.result(request, DONE_OF[request.operation], hold=hold))
            else:
                self._give(world.bank.handle(request, world.now))

    def _policy(self) -> None:
        world, book = self.play.world, self.play.judge.book
        mine = book.current
        if mine.policy or mine.ended:
            return
        for index, check in enumerate(world.checks):
            if check.attempt == mine.number:
                args = {"which": index, "verdict": "PASSED", "how": "now"}
                self.play.play(Move("policy", args))
                return

    def _approvals(self) -> None:
        world, book = self.play.world, self.play.judge.book
        for approval in list(book.approvals.values()):
            if approval.expires_at <= self.play.now:
                continue
            which = next(
                i for i, r in enumerate(world.requests) if r.approval_id == approval.identity
            )
            if approval.status == "REQUESTED":
                args = {"which": which, "verdict": "REJECTED", "how": "now"}
                self.play.play(Move("resolve", args))
            elif approval.status == "REFERRED":
                args = {"which": which, "verdict": "REJECTED", "who": APPROVER}
                self.play.play(Move("person", args))

    def _gated(self, action: str, params: dict[str, Any]) -> Any:
        """Requested, referred, approved by a person, done. Returns the action's decision."""
        play = self.play
        before = len(play.world.requests)
        play.play(Move("ask", {**params, "action": action, "who": SENIOR}))
        if len(play.world.requests) > before:
            play.play(Move("resolve", {"which": -1, "verdict": "REFERRED", "how": "now"}))
            play.play(Move("person", {"which": -1, "verdict": "APPROVED", "who": APPROVER}))
        elif type(play.steps[-1].decision) is not Duplicate:
            return play.steps[-1].decision
        start = len(play.steps)
        play.play(Move("act", {**params, "action": action, "who": SENIOR}))
        return play.steps[start].decision

    def _conflicts(self) -> None:
        play = self.play
        for conflict in list(play.judge.book.open_conflicts()):
            if conflict.verdict is not None:
                continue
            kind = f"{conflict.kind} {conflict.attempt}"
            self.tried[kind] = self.tried.get(kind, 0) + 1
            if conflict.identity not in self.open_before:
                self.insisted[kind] = self.insisted.get(kind, 0) + 1
            if self.tried[kind] > AGAIN_MAX:
                play.break_law("liveness", f"no verdict ends {conflict.kind}: {self._why()}")
            refusals = []
            for verdict, amount in self._verdicts(conflict):
                params: dict[str, Any] = {
                    "conflict": int(conflict.identity[4:]),
                    "attempt": conflict.attempt,
                    "verdict": verdict,
                }
                if amount is not None:
                    params["amount"] = amount
                decision = self._gated("RESOLVE_RECONCILIATION", params)
                if type(decision) is Accepted:
                    break
                rule = decision.rule if type(decision) is Refusal else str(decision)
                refusals.append(f"{verdict}: {rule}")
            else:
                limit = any("LIMIT" in text for text in refusals)
                if not limit:
                    state = play.judge.book.tries[conflict.attempt - 1].state
                    play.break_law(
                        "a_verdict_fits",
                        f"none fits {conflict.kind} ({conflict.report_kind}) of an attempt that is "
                        f"{state}: {refusals}",
                    )

    def _verdicts(self, conflict: Conflict) -> list[tuple[str, int | None]]:
        """The verdicts that honest operators would give, the most accurate first."""
        play = self.play
        truth = play.world.rail.of(conflict.attempt)
        mine = play.judge.book.tries[conflict.attempt - 1]
        left = truth.returned - mine.returned
        if conflict.kind.startswith("FUNDS_"):
            return [("REPORT_WRONG", None), ("AMOUNT_ACCEPTED", None)]
        if conflict.report_kind == "RETURNED":
            left = min(left, (mine.settled or AMOUNT) - mine.returned)
            if truth.settled and left > 0:
                return [("RETURNED", left), ("SETTLED_AFTER_ALL", None), ("REPORT_WRONG", None)]
            if truth.settled:
                return [("SETTLED_AFTER_ALL", None), ("REPORT_WRONG", None)]
            return [("REPORT_WRONG", None), ("RETURNED", 1), ("NOT_PAID", None)]
        if truth.settled and truth.settled != (mine.settled or AMOUNT):
            return [("AMOUNT_ACCEPTED", None), ("REPORT_WRONG", None), ("NOT_PAID", None)]
        if truth.settled:
            return [("SETTLED_AFTER_ALL", None), ("REPORT_WRONG", None)]
        if truth.may_settle(play.now) or mine.state in LIVE:
            return [("REPORT_WRONG", None), ("NOT_PAID", None), ("SETTLED_AFTER_ALL", None)]
        return [("NOT_PAID", None), ("REPORT_WRONG", None), ("SETTLED_AFTER_ALL", None)]

    def _refused(self) -> None:
        for ask in self.play.judge.book.refused_asks():
            self.repeats += 1
            if self.repeats > 30:
                return
            args = {"action": "REPEAT", "who": SENIOR, "attempt": ask.attempt}
            self.play.play(Move("act", {**args, "operation": ask.operation}))

    def _second_debits(self) -> None:
        book = self.play.judge.book
        if book.open_conflicts() or book.open_asks():
            return
        for each in book.tries:
            if each.settled and book.net(each.number) < each.bears and each.paid_order > 1:
                self._gated("DEBIT_AGAIN", {"attempt": each.number})

    def _overdue(self) -> None:
        """An attempt that the rail will never pay is marked failed by an operator."""
        play = self.play
        book = play.judge.book
        mine = play.world.rail.of(book.current.number)
        sent = book.state in {"SENT", "ACKNOWLEDGED"} and play.now > mine.submit_before
        if sent and not mine.may_settle(play.now) and not book.open_conflicts():
            self._gated("MARK_FAILED", {"failure_reason": "TIMEOUT"})

    def _rested(self, *, honest: bool) -> None:
        """At rest: compare the outside's ledgers, if nothing was misreported."""
        play = self.play
        book, bank, rail = play.judge.book, play.world.bank, play.world.rail
        if not bank.lied:
            if bank.held():
                play.break_law("ledger", f"Deposits Core still holds {bank.held()} at rest")
            due = sum(each.bears for each in book.tries)
            if bank.debited - bank.given_back != due:
                net = bank.debited - bank.given_back
                play.break_law("ledger", f"Deposits Core debited {net}, the customer bears {due}")
        if not honest or play.world.truth.excused:
            return
        for each in book.tries:
            true = rail.of(each.number).settled
            if true != each.settled:
                play.break_law(
                    "ledger",
                    f"the rail settled {true} of attempt {each.number}, not {each.settled}",
                )
