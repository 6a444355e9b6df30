"""Every metric in a rule is shown to change by a test that runs the processes.

A rule may be right and its metric registered, but never counted: then it never fires. So each alert
is listed with a test whose fixture is the running product and which makes the expression true. If
an `or` connects two metrics, each of them is listed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import pytest

from tests.deploy.exported import METRIC, rules
from tests.rooms import ROOT

MONITORING: Final = "acceptance/watched/test_monitoring.py"
RATES: Final = "acceptance/watched/test_rates.py"
SILENCE: Final = "acceptance/watched/test_silence.py"
TAMPERING: Final = "acceptance/watched/test_tampering.py"
WATCH: Final = "acceptance/shared/test_watch_alerts.py"
RUNNING: Final = {"watched", "harness"}  # fixtures: the whole product, one process each
# By file and test: the alerts whose expressions it makes true.
SHOWN: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    (MONITORING, "test_a_silent_rail_pages_engineering_until_it_reports"): (
        *("PaymentsStuck", "PaymentOverdueEscalated"),
    ),
    (
        MONITORING,
        "test_an_open_conflict_pages_operations_until_a_person_resolves_it",
    ): ("ConflictOpen", "DebitForced"),
    (MONITORING, "test_faulty_inputs_alert_the_team_that_has_to_act"): (
        *("InvariantViolation", "QuarantineGrows", "ControlActRefused", "RetryFailedAgain"),
    ),
    (RATES, "test_payments_that_fail_late_are_retried_or_cancelled_break_every_rate"): (
        *("PaymentSuccessRateLow", "RetryRateHigh", "CancellationRateHigh"),
        *("LateFailureRateHigh", "SuccessBudgetBurnsFast", "SuccessBudgetBurnsSlowly"),
    ),
    (RATES, "test_a_slow_rail_raises_an_alert"): ("RailLatencyHigh",),
    (RATES, "test_late_decisions_use_up_their_budget"): (
        *("DecisionBudgetBurnsFast", "DecisionBudgetBurnsSlowly"),
    ),
    (SILENCE, "test_scheduled_checks_are_made_on_time"): ("RetentionUnwatched",),
    (SILENCE, "test_a_hanging_verifier_raises_an_alert_and_its_return_resolves_it"): (
        *("ApiMissing", "ReadModelUnfed", "PaymentsNotDecided", "AdapterMissing"),
        *("MonitorSilent", "ReplayOverdue", "JournalUnverified"),
    ),
    (SILENCE, "test_customers_that_cannot_be_notified_wait_and_raise_an_alert"): (
        *("CustomersNotNotified", "AdapterStalled", "AdapterBehind"),
    ),
    (SILENCE, "test_an_open_transaction_on_the_journal_raises_an_alert"): (
        *("TransactionHangs", "VerifierBehind"),
    ),
    (SILENCE, "test_inputs_that_wait_for_the_schema_registry_raise_an_alert"): ("InputsStalled",),
    (SILENCE, "test_a_locked_database_leaves_the_read_model_behind"): ("ReadModelBehind",),
    (TAMPERING, "test_unusable_callbacks_raise_an_alert"): (
        *("RailCallbackQuarantined", "RecordTooLargeToCopy"),
    ),
    (TAMPERING, "test_many_refused_sign_ins_raise_an_alert"): ("SignInsRefused",),
    (TAMPERING, "test_a_defect_of_the_api_raises_an_alert"): ("ApiDefect",),
    (TAMPERING, "test_a_payment_with_an_unreadable_state_is_parked_and_raises_an_alert"): (
        "PaymentParked",
    ),
    (TAMPERING, "test_a_batch_that_no_client_can_unpack_raises_an_alert"): ("PartitionUnreadable",),
    (TAMPERING, "test_foreign_events_raise_the_alerts_of_every_process_that_reads_them"): (
        *("IdempotencyBypassed", "UnauthorizedStateMutation", "ReadModelHalted", "ReplayFailed"),
    ),
    (TAMPERING, "test_a_log_that_lost_its_tail_halts_its_partition_and_raises_an_alert"): (
        *("LogContradicted", "PartitionHalted", "EngineAlarm"),
    ),
    (WATCH, "test_a_shortened_retention_raises_an_alert_by_itself"): ("RetentionShortened",),
}
# Each metric of an alert that needs only one of several.
EACH: Final[Mapping[str, tuple[str, str]]] = {
    "npp_verifier_problems_total": (
        *(TAMPERING, "test_foreign_events_raise_the_alerts_of_every_process_that_reads_them"),
    ),
    "npp_verifier_broken_partitions": (
        *(TAMPERING, "test_foreign_events_raise_the_alerts_of_every_process_that_reads_them"),
    ),
    "npp_quarantined_by_reference_total": (
        *(TAMPERING, "test_a_record_too_large_to_copy_raises_an_alert"),
    ),
    "npp_adapter_quarantined_by_reference_total": (
        *(TAMPERING, "test_unusable_callbacks_raise_an_alert"),
    ),
}


def unmoved(given: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics and alerts of these rules that no test changes, as text."""
    given = list(given)
    recorded = {rule["record"]: rule["expr"] for rule in given if "record" in rule}
    shown = {name for names in SHOWN.values() for name in names}
    wrong, moved = [], set(EACH)
    for rule in given:
        if "alert" not in rule:
            continue
        sides = [requested(side, recorded) for side in rule["expr"].split(" or ")]
        every = set().union(*sides)
        if rule["alert"] not in shown:
            wrong.append(f"{rule['alert']}: no test makes it true")
            continue
        # One true side proves nothing about a metric that only the other side uses.
        moved |= every if all(side == every for side in sides) else set()
        wrong += [f"{rule['alert']}: nobody moves {name}" for name in sorted(every - moved)]
    for name, expr in recorded.items():
        left = sorted(requested(expr, recorded) - moved)
        wrong += [f"{name}: nobody moves {each}" for each in left]
    return wrong


def requested(expr: str, recorded: Mapping[str, str]) -> set[str]:
    """The processes' own metrics in an expression, with recorded rules resolved."""
    found: set[str] = set()
    for name in METRIC.findall(expr):
        found |= requested(recorded[name], recorded) if name in recorded else {name}
    return found


@cache
def functions(file: str) -> Mapping[str, tuple[set[str], set[str]]]:
    """The tests of a file: their fixtures, and every text in them or in a constant of the file that
    they use.
    """
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    constants = {
        target.id: texts(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for each in tree.body:
        if isinstance(each, ast.FunctionDef):
            named = {node.id for node in ast.walk(each) if isinstance(node, ast.Name)}
            said = set.union(texts(each), *(constants.get(name, set()) for name in named))
            found[each.name] = ({argument.arg for argument in each.args.args}, said)
    return found


def texts(node: ast.AST) -> set[str]:
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


def test_every_metric_of_every_rule_is_changed_by_a_test() -> None:
    """MET-12."""
    assert unmoved(rules()) == []


def test_an_alert_or_recording_of_an_unchanged_metric_is_found() -> None:
    more = [
        {"alert": "New", "expr": "npp_new_total > 0"},
        {"alert": "ReplayFailed", "expr": "npp_replay_passed == 0 or npp_newer > 1"},
        {"record": "npp:newest", "expr": "rate(npp_newest_total[5m])"},
    ]
    others = [rule for rule in rules() if rule.get("alert") != "ReplayFailed"]
    assert unmoved([*others, *more]) == [
        "New: no test makes it true",
        "ReplayFailed: nobody moves npp_newer",
        "ReplayFailed: nobody moves npp_replay_passed",
        "npp:newest: nobody moves npp_newest_total",
    ]


def test_no_unknown_alert_is_listed() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {name for names in SHOWN.values() for name in names} == alerts


@pytest.mark.parametrize(("file", "name"), SHOWN, ids=[name for _, name in SHOWN])
def test_a_listed_test_runs_the_product_and_names_the_alerts(file: str, name: str) -> None:
    fixtures, said = functions(file)[name]
    assert fixtures & RUNNING
    assert set(SHOWN[file, name]) - said == set()


@pytest.mark.parametrize("metric", EACH)
def test_a_listed_test_runs_the_product_and_names_the_metric(metric: str) -> None:
    file, name = EACH[metric]
    fixtures, said = functions(file)[name]
    assert fixtures & RUNNING
    assert [text for text in said if metric in text]
