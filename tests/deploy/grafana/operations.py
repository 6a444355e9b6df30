"""The business: the runbook's key metrics, payments, queues, error budgets, API and read model."""

from __future__ import annotations

from typing import Final

from tests.deploy.grafana.panels import GREEN, ORANGE, RED, Dashboard, Panel, Row
from tests.deploy.grafana.parts import ZERO_IS_WELL, per_second, quantiles, share, stat

OPERATIONS: Final = Dashboard(
    "operations",
    "NPP operations",
    [
        Row(
            "Key metrics",
            [
                share(
                    "success",
                    "Success rate",
                    "Settled among the attempts that ended in 5 minutes, cancelled ones left out. "
                    "Target above 95 %, alert below 90 %.",
                    ((RED, None), (ORANGE, 0.90), (GREEN, 0.95)),
                ),
                stat(
                    "Rail latency",
                    "Mean from submission to the rail's technical answer, 5 minutes. "
                    "Target below 500 ms.",
                    "npp_business_rail_latency_seconds",
                    width=3,
                    unit="s",
                    steps=((GREEN, None), (ORANGE, 0.5), (RED, 1)),
                ),
                share(
                    "retry",
                    "Retry rate",
                    "Retries to first attempts, 1 hour. Target below 5 %, alert above 10 %.",
                    ((GREEN, None), (ORANGE, 0.05), (RED, 0.10)),
                ),
                share(
                    "retry_success",
                    "Retry success rate",
                    "Settled among the retries that ended in 24 hours, cancelled ones left out.",
                    ((GREEN, None),),
                ),
                share(
                    "cancellation",
                    "Cancellation rate",
                    "Cancelled among created, 1 hour. Target below 2 %, alert above 5 %.",
                    ((GREEN, None), (ORANGE, 0.02), (RED, 0.05)),
                ),
                share(
                    "late_failure",
                    "Late failure rate",
                    "Failed after acknowledgement among acknowledged, 1 hour. "
                    "Target below 1 %, alert above 3 %.",
                    ((GREEN, None), (ORANGE, 0.01), (RED, 0.03)),
                ),
                stat(
                    "Open incidents",
                    "Rules of the monitor whose breach has lasted.",
                    "sum(npp_incident_open)",
                    width=3,
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Need attention",
                    "Payments that will not complete without action.",
                    'npp_read_model_queue{kind="attention"}',
                    width=3,
                    steps=((GREEN, None), (ORANGE, 1)),
                ),
            ],
        ),
        Row(
            "Payments",
            [
                Panel(
                    "Payments by state",
                    "All payments of the read model, now.",
                    [("npp_read_model_payments", "{{state}}")],
                    kind="piechart",
                    width=6,
                ),
                Panel(
                    "Payments by money outcome",
                    "What is known about the money over all attempts.",
                    [("npp_read_model_money_outcomes", "{{outcome}}")],
                    kind="piechart",
                    width=6,
                ),
                Panel(
                    "Failures by reason, last 24 hours",
                    "Attempts that ended as FAILED, cancelled ones included, as on the dashboard.",
                    [("npp_business_failed_last_day", "{{reason}}")],
                    kind="bargauge",
                    width=6,
                ),
                Panel(
                    "Failures by reason, last hour",
                    "Attempts that failed, cancelled ones left out.",
                    [
                        (
                            "sum by (reason) (npp_business_failed_last_hour)",
                            "{{reason}}",
                        )
                    ],
                    kind="bargauge",
                    width=6,
                ),
                Panel(
                    "Decided in the last hour",
                    "By event time, from the read model's minute figures.",
                    [("npp_business_last_hour", "{{kind}}")],
                ),
                Panel(
                    "Denominators of the rates",
                    "Below 20 there is no alert.",
                    [("npp_business_rate_count", "{{kind}}")],
                ),
                Panel(
                    "Attempts that end",
                    "By outcome, per second.",
                    per_second("npp_attempts_ended_total", "outcome"),
                ),
            ],
        ),
        Row(
            "What waits for people",
            [
                Panel(
                    "Queues", "What waits for people, now.", [("npp_read_model_queue", "{{kind}}")]
                ),
                Panel(
                    "Overdue",
                    "SENT or ACKNOWLEDGED for 5 minutes (ATTENTION) or 10 (ESCALATED).",
                    [("npp_payments_overdue", "{{state}} {{level}}")],
                ),
                Panel(
                    "Conflicts opened",
                    "Reports that contradict the record, by kind.",
                    per_second("npp_conflicts_opened_total", "kind"),
                ),
                Panel(
                    "Inputs refused",
                    "By code, per second.",
                    per_second("npp_rejected_commands_total", "code"),
                ),
                Panel(
                    "Quarantine",
                    "Records put there, by reason and by adapter.",
                    [
                        *per_second("npp_quarantined_records_total", "reason"),
                        *per_second("npp_adapter_quarantined_total", "adapter", "reason"),
                    ],
                ),
                Panel(
                    "Parked, forced debits, retries failed again",
                    "Each is a call to level 2.",
                    [
                        ("sum(increase(npp_parked_payments_total[1h]))", "parked, 1 h"),
                        (
                            'sum(increase(npp_events_total{type="FundsDebitForced"}[1h]))',
                            "forced debits, 1 h",
                        ),
                        ("sum(increase(npp_retry_failures_total[1h]))", "failed again, 1 h"),
                    ],
                ),
            ],
        ),
        Row(
            "Error budgets",
            [
                Panel(
                    "Attempts that do not settle",
                    "Budget 5 %. A page at 14.4 times (1 h) and 6 times (6 h), a ticket at 3 times "
                    "(1 day) and once (3 days).",
                    [
                        (f"npp:success_errors:ratio_rate{window}", window)
                        for window in ("5m", "1h", "6h", "1d", "3d")
                    ],
                    unit="percentunit",
                    width=12,
                    steps=((GREEN, None), (RED, 0.05)),
                ),
                Panel(
                    "Inputs decided later than 250 ms",
                    "Budget 1 %; burn rates as beside.",
                    [
                        (f"npp:decision_errors:ratio_rate{window}", window)
                        for window in ("5m", "1h", "6h", "1d", "3d")
                    ],
                    unit="percentunit",
                    width=12,
                    steps=((GREEN, None), (RED, 0.01)),
                ),
            ],
        ),
        Row(
            "API and read model",
            [
                Panel(
                    "Requests",
                    "By status, per second.",
                    per_second("npp_api_requests_total", "status"),
                ),
                Panel(
                    "Time to the answer",
                    "Over all routes.",
                    quantiles("npp_api_request_seconds"),
                    unit="s",
                ),
                Panel(
                    "Read model's delay",
                    "Age of the oldest record that it lacks. Alert above 30 s.",
                    [
                        ("max by (topic) (npp_projector_delay_seconds)", "{{topic}}"),
                        ("npp_api_read_model_delay_seconds", "as the API sees it"),
                    ],
                    unit="s",
                    steps=((GREEN, None), (RED, 30)),
                ),
                stat(
                    "Defects of the API",
                    "Answers 500 in the last hour.",
                    "sum(increase(npp_api_defects_total[1h]))",
                    steps=ZERO_IS_WELL,
                ),
                stat("Live streams", "Open event streams.", "sum(npp_api_streams_open)"),
                stat(
                    "Keys unreadable",
                    "Members of the token issuer's key set that are ignored.",
                    "sum(npp_api_malformed_keys)",
                    steps=ZERO_IS_WELL,
                ),
            ],
        ),
    ],
)
