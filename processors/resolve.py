"""The in-box Resolve: questions in, decisions out, by the policy it is given. Keeps no state.

An external Resolve takes its place by reading and writing the same two topics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from adapters.ports import ResolvePolicy
from core.header import InputHeader
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from engine.clock import Clock
from processors import topology
from processors.adapter_metrics import AdapterMetrics
from processors.adapter_ports import Codec, OpenParties, Publisher, Work

log = structlog.get_logger("processors.resolve")

STOPPED_S: Final = 0.25
UNREADABLE_RULE: Final = "parties-readable"


class ResolveDesk:
    """Answers each question once; the same question again gives the same answer."""

    def __init__(
        self,
        *,
        policy: ResolvePolicy,
        publisher: Publisher,
        codec: Codec,
        open_parties: OpenParties,
        clock: Clock,
        stopped: Callable[[], str | None],
        metrics: AdapterMetrics,
    ) -> None:
        self._policy = policy
        self._publisher = publisher
        self._codec = codec
        self._open_parties = open_parties
        self._clock = clock
        self._stopped = stopped
        self._metrics = metrics

    def handle(self, work: Work) -> float | None:
        """Decide and publish. Raises NotConfirmed when Kafka does not take the decision."""
        if self._stopped() is not None:
            return STOPPED_S
        match work.instruction:
            case PolicyCheckRequest() as request:
                decision: PolicyVerdict | ApprovalDecision = self._check(request)
                subject, verdict = request.policy_ref, decision.verdict
            case ApprovalRequest() as request:
                decision = self._policy.approve(request, now_ms=self._clock.now_ms())
                subject, verdict = request.approval_id, decision.verdict
            case other:
                log.error("unknown question", type=type(other).__name__)
                return None
        payment_id = decision.header.payment_intent_id
        key = payment_id.encode()
        topic = topology.RESOLVE_DECISIONS
        self._publisher.publish(topic, key, self._codec.encode(topic, decision))
        self._metrics.reports.labels("resolve", verdict).inc()
        log.info(
            "resolve decision",
            payment_intent_id=payment_id,
            subject=subject,
            verdict=verdict,
            rules=list(decision.rules_evaluated),
            policy_version=decision.policy_version,
        )
        return None

    def _check(self, request: PolicyCheckRequest) -> PolicyVerdict:
        now_ms = self._clock.now_ms()
        try:
            parties = self._open_parties(request.parties)
        except ValueError:
            # Who would be paid can not be read, so nobody is.
            return PolicyVerdict(
                header=InputHeader(
                    payment_intent_id=request.header.payment_intent_id, sent_at=now_ms
                ),
                policy_ref=request.policy_ref,
                verdict="DECLINED",
                phase=request.phase,
                rules_evaluated=(UNREADABLE_RULE,),
                policy_version=self._policy.version,
                failure_reason="INVALID_ACCOUNT",
            )
        return self._policy.check(request, parties, now_ms=now_ms)
