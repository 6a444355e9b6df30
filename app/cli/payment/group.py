"""`npp payment`: look at payments, put one in, act on one."""

from __future__ import annotations

from typing import Final

import typer

from app.cli.payment import actions, look, publish, resume, tail

ACT: Final = "Act on a payment"
PUT_IN: Final = "Submit a payment"

app = typer.Typer(help="Payments: view, submit, act on them.", no_args_is_help=True)
app.command()(look.show)
app.command("list")(look.list_payments)
app.command()(look.search)
app.command()(look.events)
app.command()(look.outcomes)
app.command()(look.attention)
app.command()(look.watch)
app.command()(tail.tail)
app.command()(look.event_store)
for _put in (publish.publish, publish.create):
    app.command(rich_help_panel=PUT_IN)(_put)
for _act in (
    actions.retry,
    actions.cancel,
    actions.mark_failed,
    actions.expire,
    actions.release,
    actions.reverse,
    actions.debit,
    actions.repeat_funds,
    resume.resume,
):
    app.command(rich_help_panel=ACT)(_act)
