"""Resolve's port: the in-box rules, and what production refuses (INT-07)."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.gateway_settings import resolve_of
from app.config.settings import load
from app.exits import Problem
from core.values import Action
from gateways.resolve.policy import (
    DEFAULT_RULES,
    RULES_DIR,
    InBoxResolve,
    RulesRefusedError,
    load_policy,
)
from gateways.resolve.scripted import ScriptedResolve
from tests.gateways.harness import CLOCK, PARTIES, approval, policy_check

PHASES = ("BEFORE_SENT", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED")


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("phase", PHASES)
def test_the_default_rules_wait_for_a_person_for_every_gated_action(
    action: Action, phase: str
) -> None:
    """AP-07: the rules come from a YAML file; these wait for a human approver."""
    decision = load_policy(DEFAULT_RULES, profile="production").approve(
        approval(action, phase), now_ms=1
    )
    assert decision.verdict == "REFERRED"
    assert decision.rules_evaluated
    assert decision.policy_version.startswith("default-1+")


def test_rules_that_approve_automatically_refuse_production() -> None:
    """AP-07: outside production they decide on their own."""
    assert load_policy(RULES_DIR / "demo.yaml", profile="demo")
    with pytest.raises(RulesRefusedError, match="production"):
        load_policy(RULES_DIR / "demo.yaml", profile="production")


def test_production_refuses_a_scripted_resolve_and_rules_that_approve() -> None:
    """AP-07: outside production the simulator scripts Resolve; in production nothing does."""
    scripted = {"NPP_RESOLVE_SIMULATOR_URL": "http://127.0.0.1:1"}
    approving = {"NPP_RESOLVE_RULES": str(RULES_DIR / "demo.yaml")}
    kinds = [
        type(resolve_of(load({"NPP_PROFILE": "demo"} | more).settings, CLOCK))
        for more in ({}, scripted, approving)
    ]
    assert kinds == [InBoxResolve, ScriptedResolve, InBoxResolve]
    for more in (scripted, approving):
        with pytest.raises(Problem, match="production profile"):
            resolve_of(load({"NPP_PROFILE": "production"} | more).settings, CLOCK)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("amount_over: 12344", "FRAUD"),
        ('creditor_in: ["082001-87654321"]', "INVALID_ACCOUNT"),
        ('debtor_in: ["062000-12345678"]', "INVALID_ACCOUNT"),
        ('remittance_contains: ["INVOICE 7"]', "FRAUD"),
    ],
)
def test_a_matching_check_declines_with_its_reason(tmp_path: Path, rule: str, reason: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        f"version: t\nchecks:\n  - name: one\n    reason: {reason}\n    {rule}\n"
        "  - name: never\n    reason: FRAUD\napprovals: []\n"
    )
    policy = load_policy(file, profile="production")
    verdict = policy.check(policy_check(), PARTIES, now_ms=1)
    assert (verdict.verdict, verdict.failure_reason) == ("DECLINED", reason)
    assert verdict.rules_evaluated == ("one:hit", "never:pass")
    assert verdict == policy.check(policy_check(), PARTIES, now_ms=1)
