"""External text is inert on a terminal: it moves no cursor and hides no line."""

from __future__ import annotations

import json

import pytest
from rich.table import Table

from app.cli.api_client import Reply
from app.cli.api_options import show_fields, show_list
from app.cli.npp import say
from app.cli.output import console, print_json
from app.exits import Problem

# Cursor up and erase, window title, 8-bit CSI, bell, right-to-left, a forged line.
NASTY = {
    "\x1b[9A\x1b[2KSETTLED": r"\x1b[9A\x1b[2KSETTLED",
    "\x1b]0;owned\x07": r"\x1b]0;owned\x07",
    "\x9b2J": r"\x9b2J",
    "\u202eDELTTES": r"\u202eDELTTES",
    "ok\nstate SETTLED": r"ok\nstate SETTLED",
    "ok\u2028state": r"ok\u2028state",
    "over\rwritten": r"over\rwritten",
    "[red]name[/blue]": "[red]name[/blue]",
    ":smiley: [link=http://x]": ":smiley: [link=http://x]",
    "Zoë 🧡 李": "Zoë 🧡 李",
}


@pytest.mark.parametrize(("said", "shown"), NASTY.items())
def test_text_from_outside_is_shown_inert(
    said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09, as in kubectl's CVE-2021-25743: a payment's endToEndId could paint another state over
    the real one.
    """
    show_fields({"endToEndId": said}, ["endToEndId"])
    show_list(Reply(200, {"items": [{"reason": said}]}, b"", {}), ["reason"])
    console().print(said)
    table = Table("what", box=None)
    table.add_row(said)
    console().print(table)
    out = capsys.readouterr().out
    assert out.count(shown) == 4
    assert not {ord(each) for each in out if not each.isprintable()} - {0x0A}


@pytest.mark.parametrize(("said", "shown"), NASTY.items())
def test_an_error_that_quotes_external_text_is_inert_too(
    said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09."""
    say(Problem(f"It says {said}.", means=f"{said}", do=f"npp payment show {said}"))
    err = capsys.readouterr().err
    assert "\x1b" not in err.replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert shown.split(r"\n")[0] in err


@pytest.mark.parametrize("said", NASTY)
def test_json_on_a_terminal_is_inert_and_the_same_value(
    said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09: `--json` and `npp payment tail --json` are read on terminals too."""
    print_json({"reason": said, said: 1})
    out = capsys.readouterr().out
    assert json.loads(out) == {"reason": said, said: 1}
    assert not {ord(each) for each in out if not each.isprintable()} - {0x0A}
