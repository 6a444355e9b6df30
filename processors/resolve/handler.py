"""Resolve as a process of ours: questions in, decisions out, by the `Resolve` it is given.

An external Resolve takes its place by reading and writing the same two topics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from core.header import InputHeader
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from engine.clock import MS_PER_S, Clock
from gateways.ports import Resolve, Said
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import OpenParties, Publisher, Work
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.resolve.handler")

STOPPED_S: Final = 0.25
NOT_REACHED_S: Final = 1.0
VERDICTS: Final = ("PASSED", "DECLINED", "APPROVED", "REJECTED", "REFERRED")
UNREADABLE_RULE: Final = "parties-readable"


class ResolveAdapter:
    """Publishes what Resolve says of each question, in its order; the same question is asked again
    after a crash.
    """

    def __init__(
        self,
        *,
        resolve: Resolve,
        publisher: Publisher,
        codec: Codec,
        open_parties: OpenParties,
        clock: Clock,
        stopped: Callable[[], str | None],
        metrics: AdapterMetrics,
    ) -> None:
        self._resolve = resolve
        self._publisher = publisher
        self._codec = codec
        self._open_parties = open_parties
        self._clock = clock
        self._stopped = stopped
        self._metrics = metrics
        metrics.start_at_zero("resolve", operations=(), outcomes=(), kinds=VERDICTS)

    def handle(self, work: Work) -> float | None:
        """Ask, then publish each answer when its time has come. Gives the seconds until the next.

        Raises NotConfirmed when Kafka does not take a decision.
        """
        if self._stopped() is not None:
            return STOPPED_S
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
            self._publish(said.decision)
            work.plan.pop(0)
        return None

    def _ask(self, question: object) -> tuple[Said, ...] | None:
        now_ms = self._clock.now_ms()
        match question:
            case ApprovalRequest():
                return self._resolve.ask(question, None, now_ms=now_ms)
            case PolicyCheckRequest():
                try:
                    parties = self._open_parties(question.parties)
                except ValueError:
                    return (Said(self._unreadable(question, now_ms)),)
                return self._resolve.ask(question, parties, now_ms=now_ms)
            case other:
                log.error("unknown question", type=type(other).__name__)
                return ()

    def _publish(self, decision: PolicyVerdict | ApprovalDecision) -> None:
        payment_id = decision.header.payment_intent_id
        subject = (
            decision.policy_ref if isinstance(decision, PolicyVerdict) else decision.approval_id
        )
        key = payment_id.encode()
        topic = topology.RESOLVE_DECISIONS
        self._publisher.publish(topic, key, self._codec.encode(topic, decision))
        self._metrics.reports.labels("resolve", decision.verdict).inc()
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
