"""The rail and every adapter: latency, calls, callbacks, backlog."""

from __future__ import annotations

from typing import Final

from tests.deploy.grafana.panels import GREEN, ORANGE, RED, Dashboard, Panel, Row
from tests.deploy.grafana.parts import EVERY, ZERO_IS_WELL, per_second, quantiles, stat

RAIL: Final = Dashboard(
    "rail",
    "NPP rail and adapters",
    [
        Row(
            "The rail",
            [
                stat(
                    "Latency",
                    "Mean from submission to the technical answer, 5 minutes.",
                    "npp_business_rail_latency_seconds",
                    unit="s",
                    steps=((GREEN, None), (ORANGE, 0.5), (RED, 1)),
                ),
                stat(
                    "Slow in a row",
                    "Of the last five requests, counted back from the latest. Five alert.",
                    "npp_business_rail_slow_in_a_row",
                    steps=((GREEN, None), (ORANGE, 3), (RED, 5)),
                ),
                stat(
                    "Fives of slow requests",
                    "In the last hour.",
                    "increase(npp_business_rail_slow_runs_total[1h])",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Late failures",
                    "Failed after acknowledgement, last hour.",
                    "sum(increase(npp_late_failures_total[1h]))",
                ),
                stat(
                    "Unknown codes",
                    "Rail codes that no table row maps, last hour.",
                    "sum(increase(npp_unknown_rail_codes_total[1h]))",
                    steps=ZERO_IS_WELL,
                ),
                stat(
                    "Callbacks without a payment",
                    "Undecodable, too large or unmatched, last hour. It may be a settlement.",
                    'sum(increase(npp_rail_callbacks_total{result=~"undecodable|too_large|unmatched"}[1h]))',
                    steps=ZERO_IS_WELL,
                ),
                Panel(
                    "Calls to the rail",
                    "By operation and outcome, per second.",
                    [
                        (
                            (
                                "sum by (operation, outcome) "
                                f'(rate(npp_adapter_calls_total{{adapter="rail"}}[{EVERY}]))'
                            ),
                            "{{operation}} {{outcome}}",
                        )
                    ],
                ),
                Panel(
                    "Time of a call to the rail",
                    "To its technical answer.",
                    quantiles("npp_adapter_call_seconds", where='{adapter="rail"}'),
                    unit="s",
                    steps=((GREEN, None), (RED, 1)),
                ),
                Panel(
                    "Callbacks",
                    "By result, per second.",
                    per_second("npp_rail_callbacks_total", "result"),
                ),
            ],
        ),
        Row(
            "Every adapter",
            [
                Panel(
                    "Calls",
                    "By adapter and outcome, per second.",
                    per_second("npp_adapter_calls_total", "adapter", "outcome"),
                ),
                Panel(
                    "Time of a call",
                    "By adapter.",
                    quantiles("npp_adapter_call_seconds", by="adapter"),
                    unit="s",
                ),
                Panel(
                    "Reports",
                    "What came back, by adapter and kind.",
                    per_second("npp_adapter_reports_total", "adapter", "kind"),
                ),
                Panel(
                    "Instructions under way",
                    "Read and not done.",
                    [("npp_adapter_instructions_held", "{{adapter}}")],
                ),
                Panel(
                    "Oldest instruction under way",
                    "Since it was decided. A notification alerts above 10 minutes.",
                    [("time() - npp_adapter_oldest_instruction_seconds", "{{adapter}}")],
                    unit="s",
                    steps=((GREEN, None), (RED, 600)),
                ),
                Panel(
                    "Instructions that wait",
                    "In a partition that makes no progress. Alert above 2 minutes.",
                    [("npp_adapter_stalled_seconds", "{{adapter}}")],
                    unit="s",
                    steps=((GREEN, None), (RED, 120)),
                ),
                Panel(
                    "Records to do, by partition",
                    "The ten partitions with most. More than 1,000 for 5 minutes alert.",
                    [
                        (
                            'topk(10, npp_consumer_lag_records{reader!="payments"})',
                            "{{reader}} {{topic}} {{partition}}",
                        )
                    ],
                    steps=((GREEN, None), (RED, 1000)),
                ),
                Panel(
                    "Too large to copy",
                    "Quarantined by reference, last hour.",
                    [
                        (
                            (
                                "sum by (adapter) "
                                "(increase(npp_adapter_quarantined_by_reference_total[1h]))"
                            ),
                            "{{adapter}}",
                        )
                    ],
                ),
                Panel(
                    "Put back from quarantine",
                    "Redriven records, last hour.",
                    [("sum(increase(npp_redriven_records_total[1h]))", "redriven")],
                ),
                Panel(
                    "Connections that we closed",
                    "By port and reason, per second.",
                    per_second("npp_http_connections_closed_total", "port", "reason"),
                ),
            ],
        ),
    ],
)
