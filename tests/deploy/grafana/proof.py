"""What is proved: the whole log, the verifier's checkpoints, the monitor, control acts."""

from __future__ import annotations

from typing import Final

from tests.deploy.grafana.panels import GREEN, ORANGE, RED, Dashboard, Panel, Row
from tests.deploy.grafana.parts import EVERY, ONE_IS_WELL, ZERO_IS_WELL, per_second, stat

PROOF: Final = Dashboard(
    "proof",
    "NPP proof",
    [
        Row(
            "The whole log",
            [
                Panel(
                    "Last proof, by strength",
                    "1 passed, 0 failed: a STOP and level 3. Nothing: not checkable.",
                    [("npp_replay_passed", "{{strength}}")],
                    kind="stat",
                    width=8,
                    steps=ONE_IS_WELL,
                ),
                stat(
                    "Age of the last proof",
                    "Once a day; two days alert.",
                    "time() - max(npp_replay_last_end_seconds)",
                    unit="s",
                    steps=((GREEN, None), (ORANGE, 90_000), (RED, 172_800)),
                ),
                stat("Events proven", "By the last proof.", "max(npp_replay_last_events)"),
                stat("Runs now", "1 while a proof runs.", "max(npp_replay_running)"),
                stat(
                    "Progress",
                    "Of the proof that runs, or ran last.",
                    "max(npp_replay_records_done) / max(npp_replay_records_expected)",
                    unit="percentunit",
                    top=1.0,
                ),
            ],
        ),
        Row(
            "The verifier",
            [
                stat(
                    "Partitions broken",
                    "Not signed any more: level 3.",
                    "sum(npp_verifier_broken_partitions)",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Problems",
                    "Failed proofs in the last hour.",
                    "sum(increase(npp_verifier_problems_total[1h]))",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Age of the last checkpoint",
                    "Signed only when there are new events.",
                    "time() - max(npp_verifier_last_checkpoint_seconds)",
                    unit="s",
                ),
                stat(
                    "Read model halted",
                    "1: an event does not continue the chain.",
                    "max(npp_projector_halted)",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Idempotency bypassed",
                    "Payments whose id does not match their key.",
                    "sum(npp_idempotency_bypassed)",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Retention contradicted",
                    "Live settings that would remove records too early.",
                    "sum(npp_retention_contradictions)",
                    steps=ZERO_IS_WELL,
                ),
                Panel(
                    "Events verified and inputs read",
                    "Per second.",
                    [
                        (f"sum(rate(npp_verifier_events_total[{EVERY}]))", "events"),
                        (f"sum(rate(npp_verifier_inputs_read_total[{EVERY}]))", "inputs"),
                        (f"sum(rate(npp_verifier_checkpoints_total[{EVERY}]))", "checkpoints"),
                    ],
                ),
                Panel(
                    "Events that wait",
                    "For how long. Alert above a minute.",
                    [("max(npp_verifier_delay_seconds)", "oldest")],
                    unit="s",
                    steps=((GREEN, None), (RED, 60)),
                ),
                Panel(
                    "Events not verified, not signed",
                    "Of the journal.",
                    [
                        ("sum(npp_verifier_lag_events)", "not verified"),
                        ("sum(npp_verifier_unsigned_events)", "not signed"),
                    ],
                ),
                Panel(
                    "Oldest open transaction on the journal",
                    "Nothing after it is read. Alert above a minute.",
                    [("max(npp_journal_open_transaction_seconds)", "open for")],
                    unit="s",
                    steps=((GREEN, None), (RED, 60)),
                ),
                Panel(
                    "Age of the last look at retention",
                    "Once a minute; ten minutes alert.",
                    [("time() - max(npp_retention_last_look_seconds)", "age")],
                    unit="s",
                    steps=((GREEN, None), (RED, 600)),
                ),
            ],
        ),
        Row(
            "Monitor and control",
            [
                Panel(
                    "Incidents open",
                    "By rule of the monitor.",
                    [("max by (rule) (npp_incident_open)", "{{rule}}")],
                ),
                Panel(
                    "Age of the monitor's last tick",
                    "One a second. Alert above a minute.",
                    [("time() - max(npp_monitor_last_tick_seconds)", "age")],
                    unit="s",
                    steps=((GREEN, None), (RED, 60)),
                ),
                Panel(
                    "What the monitor takes",
                    "Ticks and minute figures, per second.",
                    [
                        (f"sum(rate(npp_monitor_ticks_total[{EVERY}]))", "ticks"),
                        (f"sum(rate(npp_monitor_minutes_total[{EVERY}]))", "minute figures"),
                        *per_second("npp_monitor_skipped_total", "reason"),
                    ],
                ),
                stat(
                    "Monitors that judge",
                    "One of all.",
                    "sum(npp_monitor_owner)",
                    steps=ONE_IS_WELL,
                ),
                Panel(
                    "Control acts refused",
                    "In the last hour, by rule.",
                    [("sum by (rule) (increase(npp_control_acts_refused_total[1h]))", "{{rule}}")],
                    width=20,
                ),
            ],
        ),
    ],
)
