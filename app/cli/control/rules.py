"""`npp control rules`: the next rule set is put in force."""

from __future__ import annotations

from typing import Annotated

import typer

from app import control_records, rule_files, settings
from app.cli.api_options import As, Json, answer
from app.cluster import Cluster


def rules(
    number: Annotated[int, typer.Argument(help="Of core/rules/<number>.yaml; numbers only rise.")],
    operator: As,
    json: Json = False,
) -> None:
    """Put the next rule set in force, from the next batch of every instance on."""
    environment = settings.load()
    chosen = rule_files.chosen(number, environment.settings.profile)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        activated = control_records.next_rules(control, chosen)
        if activated:
            record = control_records.activation(chosen, cluster.clock.now_ms(), operator)
            cluster.publish_control(record)
    sha256 = chosen.sha256.hex()
    answer(
        {"number": number, "sha256": sha256, "activated": activated},
        json,
        f"rule set {number} is in force (SHA-256 {sha256[:16]}…)"
        if activated
        else f"rule set {number} is in force already",
    )
