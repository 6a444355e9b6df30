"""The built-in Resolve process: requests in, decisions out, using the given `Resolve`.

An external Resolve replaces it by reading and writing the same two topics.
"""

from __future__ import annotations

from typing import Final, Unpack, assert_never

import structlog

from core.header import InputHeader
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from engine.clock import MS_PER_S
from gateways.ports import Resolve, ResolveAnswer
from processors.adapter.handler import Common, GatewayHandler
from processors.adapter.ports import Work
from schemas import topology
from schemas.codec.parties import open_parties

log = structlog.get_logger("processors.resolve.handler")

NOT_REACHED_S: Final = 1.0
VERDICTS: Final = ("PASSED", "DECLINED", "APPROVED", "REJECTED", "REFERRED")
UNREADABLE_RULE: Final = "parties-readable"


class ResolveHandler(GatewayHandler):
    """Publishes Resolve's answers to each request in order, each when it is due. After a crash
    Resolve is asked again.
    """

    name = "resolve"
    requests = topology.RESOLVE_REQUESTS
    topic = topology.RESOLVE_DECISIONS

    def __init__(self, *, resolve: Resolve, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._resolve = resolve
        self._metrics.start_at_zero(self.name, operations=(), outcomes=(), kinds=VERDICTS)

    def handle(self, work: Work) -> float | None:
        if work.plan is None:
            requested_s = self._clock.monotonic_s()
            answers = self._ask(work.instruction)
            if answers is None:
                return NOT_REACHED_S
            work.begun_s = requested_s
            work.plan = list(answers)
        while work.plan:
            answer: ResolveAnswer = work.plan[0]
            wait_s = work.begun_s + answer.after_ms / MS_PER_S - self._clock.monotonic_s()
            if wait_s > 0:
                return wait_s
            self._say(answer.decision)
            work.plan.pop(0)
        return None

    def _ask(
        self, question: ApprovalRequest | PolicyCheckRequest
    ) -> tuple[ResolveAnswer, ...] | None:
        now_ms = self._clock.now_ms()
        match question:
            case ApprovalRequest():
                return self._resolve.ask(question, None, now_ms=now_ms)
            case PolicyCheckRequest():
                try:
                    parties = open_parties(question.parties)
                except ValueError:
                    return (ResolveAnswer(decision=self._unreadable(question, now_ms)),)
                return self._resolve.ask(question, parties, now_ms=now_ms)
            case _:
                assert_never(question)

    def _say(self, decision: PolicyVerdict | ApprovalDecision) -> None:
        payment_id = decision.header.payment_intent_id
        subject = (
            decision.policy_ref if isinstance(decision, PolicyVerdict) else decision.approval_id
        )
        self.publish(decision, decision.verdict)
        log.info(
            "resolve decision",
            payment_intent_id=payment_id,
            subject=subject,
            verdict=decision.verdict,
            rules=list(decision.rules_evaluated),
            policy_version=decision.policy_version,
        )

    def _unreadable(self, request: PolicyCheckRequest, now_ms: int) -> PolicyVerdict:
        """The parties cannot be read, so the payment is declined."""
        return PolicyVerdict(
            header=InputHeader(payment_intent_id=request.header.payment_intent_id, sent_at=now_ms),
            policy_ref=request.policy_ref,
            verdict="DECLINED",
            phase=request.phase,
            rules_evaluated=(UNREADABLE_RULE,),
            policy_version=self._resolve.version,
            failure_reason="INVALID_ACCOUNT",
        )
