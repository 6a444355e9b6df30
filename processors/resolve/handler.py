"""Resolve as a process of ours: questions in, decisions out, by the `Resolve` it is given.

An external Resolve takes its place by reading and writing the same two topics.
"""

from __future__ import annotations

from typing import Final, Unpack

import structlog

from core.header import InputHeader
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from engine.clock import MS_PER_S
from gateways.ports import Resolve, Said
from processors.adapter.handler import Common, GatewayHandler
from processors.adapter.ports import Work
from schemas import topology
from schemas.codec.parties import open_parties

log = structlog.get_logger("processors.resolve.handler")

NOT_REACHED_S: Final = 1.0
VERDICTS: Final = ("PASSED", "DECLINED", "APPROVED", "REJECTED", "REFERRED")
UNREADABLE_RULE: Final = "parties-readable"


class ResolveHandler(GatewayHandler):
    """Publishes what Resolve says of each question, in its order, each when its time has come; the
    same question is asked again after a crash.
    """

    name = "resolve"
    asked = topology.RESOLVE_REQUESTS
    topic = topology.RESOLVE_DECISIONS

    def __init__(self, *, resolve: Resolve, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._resolve = resolve
        self._metrics.start_at_zero(self.name, operations=(), outcomes=(), kinds=VERDICTS)

    def handle(self, work: Work) -> float | None:
        if work.plan is None:
            asked_s = self._clock.monotonic_s()
            answers = self._ask(work.instruction)
            if answers is None:
                return NOT_REACHED_S
            work.begun_s = asked_s
            work.plan = list(answers)
        while work.plan:
            said: Said = work.plan[0]
            wait_s = work.begun_s + said.after_ms / MS_PER_S - self._clock.monotonic_s()
            if wait_s > 0:
                return wait_s
            self._say(said.decision)
            work.plan.pop(0)
        return None

    def _ask(self, question: object) -> tuple[Said, ...] | None:
        now_ms = self._clock.now_ms()
        match question:
            case ApprovalRequest():
                return self._resolve.ask(question, None, now_ms=now_ms)
            case PolicyCheckRequest():
                try:
                    parties = open_parties(question.parties)
                except ValueError:
                    return (Said(self._unreadable(question, now_ms)),)
                return self._resolve.ask(question, parties, now_ms=now_ms)
            case other:
                log.error("unknown question", type=type(other).__name__)
                return ()

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
        """Who would be paid cannot be read, so nobody is."""
        return PolicyVerdict(
            header=InputHeader(payment_intent_id=request.header.payment_intent_id, sent_at=now_ms),
            policy_ref=request.policy_ref,
            verdict="DECLINED",
            phase=request.phase,
            rules_evaluated=(UNREADABLE_RULE,),
            policy_version=self._resolve.version,
            failure_reason="INVALID_ACCOUNT",
        )
