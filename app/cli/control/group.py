"""`npp control`: STOP and its end, recovery, rulings on records, rule sets."""

from __future__ import annotations

import typer

from app.cli.control import recover, resume, rules, ruling, stops

app = typer.Typer(
    help="Stop, resume, recover after a loss, rules, operators.", no_args_is_help=True
)
app.command()(stops.show)
app.command()(stops.stop)
app.command()(resume.resume)
app.command()(recover.recover)
app.command()(ruling.ruling)
app.command()(rules.rules)
app.command("operators")(rules.operators_file)
app.command()(rules.confirm)
