"""The payments processor and the projector: throughput, backlog, health."""

from __future__ import annotations

from typing import Final

from tests.deploy.grafana.panels import GREEN, RED, Dashboard, Panel, Row
from tests.deploy.grafana.parts import EVERY, ZERO_IS_WELL, per_second, quantiles, stat

ENGINE: Final = Dashboard(
    "engine",
    "NPP engine",
    [
        Row(
            "Throughput and latency",
            [
                Panel(
                    "Inputs decided",
                    "By result, per second.",
                    per_second("npp_inputs_total", "result"),
                ),
                Panel(
                    "From append to decision",
                    "99 % within 250 ms is the error budget's promise.",
                    quantiles("npp_engine_end_to_end_seconds"),
                    unit="s",
                    steps=((GREEN, None), (RED, 0.25)),
                ),
                Panel("Events", "Appended, by type.", per_second("npp_events_total", "type")),
                Panel(
                    "Time of a batch, by phase",
                    "From the poll to the store.",
                    quantiles("npp_engine_batch_seconds", by="phase"),
                    unit="s",
                ),
                Panel("Batch", "Records per batch.", quantiles("npp_engine_batch_records")),
                Panel(
                    "Records polled",
                    "Per second and process.",
                    per_second("npp_engine_records_polled_total", "instance"),
                ),
                Panel(
                    "Inputs without effect",
                    "By rule, per second.",
                    per_second("npp_inputs_without_effect_total", "rule"),
                ),
            ],
        ),
        Row(
            "What waits",
            [
                Panel(
                    "Undecided records",
                    "By input topic.",
                    [("sum by (topic) (npp_engine_input_lag_records)", "{{topic}}")],
                ),
                Panel(
                    "Behind an open transaction",
                    "Records behind the last stable offset.",
                    [("max by (topic) (npp_engine_last_stable_offset_lag_records)", "{{topic}}")],
                ),
                Panel(
                    "Inputs that wait",
                    "In a partition that makes no progress. Alert above 2 minutes.",
                    [("max by (topic) (npp_engine_stalled_seconds)", "{{topic}}")],
                    unit="s",
                    steps=((GREEN, None), (RED, 120)),
                ),
                Panel(
                    "Lateness of timers",
                    "From the deadline to its record.",
                    quantiles("npp_engine_timer_lateness_seconds"),
                    unit="s",
                ),
                Panel(
                    "Deadlines",
                    "Set now, and made per second.",
                    [
                        ("sum(npp_engine_timers_pending)", "set"),
                        (f"sum(rate(npp_engine_timers_made_total[{EVERY}]))", "made per second"),
                    ],
                ),
                Panel(
                    "Open states",
                    "Not at rest.",
                    [("npp_engine_open_states", "{{instance}}")],
                ),
                Panel(
                    "Caches",
                    "Memory of states and store, and what they may take (NPP_CACHE_BYTES).",
                    [
                        ("npp_engine_cache_bytes", "{{instance}} {{kind}}"),
                        ("npp_engine_cache_budget_bytes", "{{instance}} {{kind}}, allowed"),
                    ],
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Health",
            [
                Panel(
                    "Partitions",
                    "By state and process.",
                    [("npp_engine_partitions", "{{instance}} {{state}}")],
                ),
                Panel(
                    "Transactions",
                    "By outcome, per second.",
                    per_second("npp_engine_transactions_total", "outcome"),
                ),
                Panel(
                    "Alarms",
                    "In the last hour, by name.",
                    [("sum by (alarm) (increase(npp_engine_alarms_total[1h]))", "{{alarm}}")],
                ),
                stat(
                    "Still to restore",
                    "State records.",
                    "sum(npp_engine_restore_remaining_records)",
                ),
                stat("Rebalances", "Since the processes began.", "sum(npp_engine_rebalances)"),
                stat(
                    "Fenced",
                    "By a newer instance, last hour.",
                    "sum(increase(npp_engine_fenced_total[1h]))",
                ),
                stat(
                    "Consumers replaced",
                    "In the last hour.",
                    "sum(increase(npp_engine_consumers_lost_total[1h]))",
                ),
                stat(
                    "Oldest progress",
                    "Of any payments processor's loop.",
                    "max(npp_engine_watchdog_age_seconds)",
                    unit="s",
                ),
                stat(
                    "Partitions unreadable",
                    "For any of our clients.",
                    "count(npp_partition_unreadable > 0) or vector(0)",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Too large to copy",
                    "Quarantined by reference, last hour.",
                    "sum(increase(npp_quarantined_by_reference_total[1h]))",
                    steps=ZERO_IS_WELL,
                ),
            ],
        ),
        Row(
            "Projector",
            [
                Panel(
                    "Records projected",
                    "By topic, per second.",
                    per_second("npp_projector_records_total", "topic"),
                ),
                Panel(
                    "Time of a batch",
                    "Folding and writing.",
                    quantiles("npp_projector_batch_seconds"),
                    unit="s",
                ),
                Panel(
                    "Skipped, and pauses",
                    "Records without a row, and waits for the database or registry, per second.",
                    [
                        *per_second("npp_projector_skipped_records_total", "reason"),
                        (f"sum(rate(npp_projector_waits_total[{EVERY}]))", "pauses"),
                    ],
                ),
                stat("Generation", "Of the read model.", "max(npp_projector_generation)"),
            ],
        ),
    ],
)
