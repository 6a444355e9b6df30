"""The built-in Resolve's rules: a YAML file evaluated top down. Keeps no state.

Checks: every rule is evaluated and named; the first that hits declines. Approvals: the first rule
that matches decides; when none does, a person has to (REFERRED).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, assert_never

import msgspec
import yaml

from core.closed_sets import ApprovalAnswer, DeclineReason
from core.header import InputHeader
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from core.values import Action, Parties, Party, PaymentIntentId
from gateways.ports import ResolveAnswer, ResolvePolicy

RULES_DIR: Final = Path(__file__).resolve().parent / "rules"
DEFAULT_RULES: Final = RULES_DIR / "default.yaml"
FILE_BYTES_MAX: Final = 1_000_000
PRODUCTION: Final = "production"
NO_RULE: Final = "no-rule-refers"
DECIDED_BY: Final = "resolve-in-box"


class CheckRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Declines if one of its conditions is true. Amount in cents; accounts as BSB-account or PayID.
    `remittance_contains` and `name_contains` ignore case.
    """

    name: str
    reason: DeclineReason
    amount_over: int | None = None
    creditor_in: frozenset[str] = frozenset()
    debtor_in: frozenset[str] = frozenset()
    remittance_contains: tuple[str, ...] = ()
    name_contains: tuple[str, ...] = ()

    def hits(self, request: PolicyCheckRequest, parties: Parties) -> bool:
        remittance = (parties.remittance or "").casefold()
        name = parties.creditor.name.casefold()
        return (
            (self.amount_over is not None and request.amount > self.amount_over)
            or account_of(parties.creditor) in self.creditor_in
            or account_of(parties.debtor) in self.debtor_in
            or any(word.casefold() in remittance for word in self.remittance_contains)
            or any(word.casefold() in name for word in self.name_contains)
        )


class ApprovalRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Matches an action, a phase and an amount (cents); nothing given matches everything."""

    name: str
    verdict: ApprovalAnswer
    actions: frozenset[Action] = frozenset()
    phases: frozenset[str] = frozenset()
    amount_to: int | None = None
    because: str | None = None

    def matches(self, request: ApprovalRequest) -> bool:
        return (
            (not self.actions or request.action in self.actions)
            and (not self.phases or request.phase in self.phases)
            and (self.amount_to is None or request.amount <= self.amount_to)
        )


class RulesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    checks: tuple[CheckRule, ...]
    approvals: tuple[ApprovalRule, ...]


class RulesRefusedError(ValueError):
    """The rules cannot be read, or may not be used under this profile; the sentence says why."""


class YamlPolicy:
    """`ResolvePolicy` by a rules file. Its version names the file's content."""

    def __init__(self, rules: RulesFile, *, content_sha256: str) -> None:
        self._rules = rules
        self.version = f"{rules.version}+{content_sha256[:12]}"

    def check(self, request: PolicyCheckRequest, parties: Parties, *, now_ms: int) -> PolicyVerdict:
        """PASSED, or DECLINED with the reason of the first rule that hits. All rules are named."""
        hit = next((rule for rule in self._rules.checks if rule.hits(request, parties)), None)
        evaluated = tuple(
            f"{rule.name}:{'hit' if rule.hits(request, parties) else 'pass'}"
            for rule in self._rules.checks
        )
        return PolicyVerdict(
            header=_header(request.header.payment_intent_id, now_ms, request.header.traceparent),
            policy_ref=request.policy_ref,
            verdict="PASSED" if hit is None else "DECLINED",
            phase=request.phase,
            rules_evaluated=evaluated,
            policy_version=self.version,
            failure_reason=None if hit is None else hit.reason,
        )

    def approve(self, request: ApprovalRequest, *, now_ms: int) -> ApprovalDecision:
        """The first matching rule's verdict; REFERRED when none matches."""
        evaluated: list[str] = []
        verdict: ApprovalAnswer = "REFERRED"
        because = None
        for rule in self._rules.approvals:
            if rule.matches(request):
                evaluated.append(f"{rule.name}:{rule.verdict}")
                verdict, because = rule.verdict, rule.because
                break
            evaluated.append(f"{rule.name}:pass")
        else:
            evaluated.append(NO_RULE)
        return ApprovalDecision(
            header=_header(request.header.payment_intent_id, now_ms, request.header.traceparent),
            approval_id=request.approval_id,
            verdict=verdict,
            decided_by=DECIDED_BY,
            rules_evaluated=tuple(evaluated),
            policy_version=self.version,
            reason=because,
        )


class InBoxResolve:
    """`Resolve` by a policy: one answer to each question, at once."""

    def __init__(self, policy: ResolvePolicy) -> None:
        self._policy = policy
        self.version = policy.version

    def ask(
        self,
        question: PolicyCheckRequest | ApprovalRequest,
        parties: Parties | None,
        *,
        now_ms: int,
    ) -> tuple[ResolveAnswer, ...]:
        """Raises ValueError for a policy check without parties."""
        match question:
            case ApprovalRequest():
                return (ResolveAnswer(decision=self._policy.approve(question, now_ms=now_ms)),)
            case PolicyCheckRequest():
                if parties is None:
                    raise ValueError("a policy check needs the parties")
                return (
                    ResolveAnswer(decision=self._policy.check(question, parties, now_ms=now_ms)),
                )
            case never:
                assert_never(never)


def load_policy(path: Path, *, profile: str) -> YamlPolicy:
    """Read a rules file. Raises RulesRefusedError.

    A rule that says APPROVED allows a gated action without a person: the production profile refuses
    such a file.
    """
    raw = path.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        raise RulesRefusedError(f"{path.name} is larger than {FILE_BYTES_MAX} bytes")
    try:
        rules = msgspec.convert(yaml.safe_load(raw), RulesFile)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise RulesRefusedError(f"{path.name} is no rules file: {error}") from error
    by_itself = [rule.name for rule in rules.approvals if rule.verdict == "APPROVED"]
    if by_itself and profile.strip().lower() == PRODUCTION:
        raise RulesRefusedError(
            f"{path.name} approves gated actions by itself ({', '.join(by_itself)}), which the "
            "production profile (NPP_PROFILE=production) refuses. Use rules that refer to a person."
        )
    return YamlPolicy(rules, content_sha256=hashlib.sha256(raw).hexdigest())


def account_of(party: Party) -> str:
    """How a rules file names an account: BSB-account, or the PayID."""
    return party.pay_id if party.pay_id is not None else f"{party.bsb}-{party.account}"


def _header(payment_id: str, now_ms: int, traceparent: str | None) -> InputHeader:
    return InputHeader(
        payment_intent_id=PaymentIntentId(payment_id), sent_at=now_ms, traceparent=traceparent
    )
