"""The control page has the exact command for each act that a person signs."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import pytest

from app.cli.npp import parser
from core import control_records
from core.values import PaymentIntentId
from tests.web.harness import PagesHarness
from web.pages.control import requests, waiting

pytestmark = pytest.mark.slow

PRE = re.compile(r"<pre id=\"([\w-]+)\">(.*?)</pre>", re.ASCII | re.DOTALL)
FILLED = {"PARTITION": "3", "OFFSET": "17", "OPERATORS_FILE": "operators.yaml"}
TREE: Any = parser()


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command's name and its parsed arguments."""
    words = [FILLED.get(each, each) for each in shlex.split(line)]
    command, rest = TREE, words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context("npp", [*rest]) as context:
        return str(command.name), dict(context.params)


def test_every_command_of_the_page_can_be_pasted(harness: PagesHarness) -> None:
    page = harness.browser("ada").get("/control").text
    found = {name: html.unescape(text) for name, text in PRE.findall(page)}
    commands = {name: parsed(line) for name, text in found.items() for line in text.splitlines()}
    assert "--help" not in page
    names = {"stop", "rules", "operators", "sources", "recover"}
    assert commands.keys() >= names | {"pass-over", "foreign", "as-recorded"}
    in_force = harness.get("ada", "/api/control").json()["ruleSet"]
    assert commands["rules"][1]["number"] == in_force["number"] + 1
    assert commands["pass-over"][1]["passing"]
    assert commands["foreign"][1]["foreign"] is True
    assert commands["as-recorded"][1]["as_recorded"] is True


def test_a_waiting_request_shows_the_command_that_confirms_it(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    harness.park(payment)
    harness.work()
    requested = control_records.UnparkRequested(
        payment_intent_id=PaymentIntentId(payment),
        sequence=harness.world.known(payment).payment.sequence,
        reason="<b>mended</b>", requested_at=1, actor="ada",
    )  # fmt: skip
    answer = harness.carry(f"/api/payments/{payment}/resume-requests", requested)
    assert answer.status_code == 200, answer.text
    page = harness.browser("vera").get("/control").text
    assert f'npp payment resume {payment} --confirm --reason "…"' in html.unescape(page)
    assert "&lt;b&gt;mended&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("name", "fields", "name_of_command", "params"),
    [
        ("RuleSetActivated", {}, "confirm", {"offset": 7}),
        ("SourceMapActivated", {}, "confirm", {"offset": 7}),
        ("OperatorsActivated", {}, "confirm", {"offset": 7}),
        ("DispositionRequested", {"reason": "x"}, "confirm", {"offset": 7}),
        ("ResumeRequested", {"stopId": "stp_1"}, "resume", {"stop_id": "stp_1", "offset": 7}),
        ("UnparkRequested", {"paymentIntentId": "pi_1"}, "resume", {"confirm": True}),
        ("RecoverRequested", {"requestId": "rec_1"}, "recover", {"confirm": "rec_1"}),
        ("RedriveRequested", {"requestId": "rdr_1"}, "redrive", {"confirm": "rdr_1"}),
    ],
)
def test_each_kind_of_request_has_its_command(
    name: str, fields: dict[str, Any], name_of_command: str, params: dict[str, Any]
) -> None:
    act = {"type": name, "fields": {"actor": "ada", **fields}}
    (found,) = waiting({"requests": [{"offset": 7, "act": act}]})
    command, read = parsed(found.command)
    assert command == name_of_command
    assert {each: read[each] for each in params} == params


def test_before_the_first_rule_set_its_command_is_shown() -> None:
    found = {each[0]: each[2] for each in requests({"ruleSet": None, "operators": None})}
    assert found["rules"] == "npp control rules 1"
