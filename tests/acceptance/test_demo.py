"""`npp demo` as a user runs it: the JSON has the measured values, and everything reconciles."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FIELDS = {
    *("published", "accepted", "duplicates", "rejected", "quarantined", "others"),
    *("noEffect", "states"),
    *("openConflicts", "waitingForPerson", "events", "settledTwice", "unaccountedInputs"),
    *("kills", "replay", "seconds", "inputsPerSecond", "endToEndMillis", "operators"),
}
ROLES = {"viewer", "operator", "senior_operator", "approver", "auditor", "admin"}
STATES = {"CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"}
DEMO_SECONDS_MAX = 600
END_SECONDS_MAX = 120
# A demo that takes longer runs where a killed process is back only after the 20 s that the demo's
# rules give a payment: then most of the load fails by these rules, and reconciles all the same.
SLOW_SECONDS = 150
LOAD_EVENTS = 20  # of five payments, settled or not
CONTROL_SECONDS = 4  # the control topic is read each second


def clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NPP_") or name in ("NPP_CACHE_DIR", "NPP_JAVA")
    }


def npp(*words: str) -> list[str]:
    return [sys.executable, "-m", "app.cli.npp", *words]


@pytest.mark.timeout(DEMO_SECONDS_MAX + 20)
def test_a_demo_under_kills_reconciles_and_its_json_says_so(tmp_path: Path) -> None:
    """DEP-05, INT-08."""
    options = ("--once", "--chaos", "--json", "--payments", "160", "--rate", "60")
    answer = subprocess.run(
        npp("demo", *options, "--data", str(tmp_path / "demo")),
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        env=clean_environment(),
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    ready = json.loads(answer.stdout.splitlines()[0])
    assert ready["ready"] is True
    assert set(ready["tokens"]) == ROLES
    assert set(ready) == {
        "ready",
        "api",
        "dashboard",
        "tokens",
        "bootstrap",
        "registry",
        "simulators",
        "prometheus",
        "alertmanager",
    }
    figures = json.loads(answer.stdout.splitlines()[-1])
    assert set(figures) == FIELDS
    assert set(figures["states"]) == STATES
    assert set(figures["replay"]) == {"fold", "chain", "redecide", "identity", "money"}
    assert set(figures["endToEndMillis"]) == {"p50", "p99"}
    _reconciles(figures)
    assert figures["kills"] >= 3
    assert figures["operators"]["accepted"] > 0
    assert figures["duplicates"] > 0
    assert figures["rejected"] > 0
    assert figures["quarantined"] > 0


def _reconciles(figures: dict[str, Any]) -> None:
    became = ("accepted", "duplicates", "rejected", "quarantined")
    assert figures["published"] == sum(figures[name] for name in became)
    assert sum(figures["states"].values()) == 160
    if figures["seconds"] < SLOW_SECONDS:
        assert figures["states"]["SETTLED"] > 40
    assert figures["events"] > 5 * 160
    assert figures["settledTwice"] == 0
    assert figures["unaccountedInputs"] == 0
    assert all(figures["replay"].values())
    assert 0 < figures["endToEndMillis"]["p50"] <= figures["endToEndMillis"]["p99"]


@pytest.mark.timeout(DEMO_SECONDS_MAX)
def test_a_demo_that_keeps_running_is_found_by_other_commands_and_ends_cleanly(
    tmp_path: Path,
) -> None:
    with _staying(tmp_path, "--payments", "5", "--rate", "20") as (demo, data, log):
        _await(lambda: "keeps running until" in log.read_text(), demo, log)
        environment = clean_environment() | {"NPP_DATA_DIR": str(data)}

        def run(*words: str) -> str:
            answer = subprocess.run(
                npp(*words),
                capture_output=True,
                text=True,
                env=environment,
                check=True,
                timeout=120,
            )
            return answer.stdout

        payment = run("payment", "publish", "--key", "by-hand", "--amount", "12.50").strip()
        _await(lambda: _settled(run, payment), demo, log)
        shown = json.loads(run("payment", "show", payment, "--kafka", "--json"))
        assert [event["header"]["sequence"] for event in shown["events"]] == list(
            range(1, shown["sequence"] + 1)
        )
        assert shown["moneyOutcome"] == "PAID"
        assert "12345678" not in json.dumps(shown)  # the account of `npp payment publish`'s debtor
        _proven_on_a_schedule(run, demo, log)
        _stop_and_resume(run)
        _recorded(data, tmp_path / "histories")


@pytest.mark.timeout(DEMO_SECONDS_MAX)
def test_a_payment_published_by_a_user_is_reported_beside_the_load(tmp_path: Path) -> None:
    """It raises no false alert. One printed line sets up another shell for the demo, and the last
    lines say where everything stays.
    """
    with _staying(tmp_path, "--payments", "40", "--rate", "3") as (demo, data, log):
        _await(lambda: "the load begins" in log.read_text(), demo, log)
        environment = clean_environment() | {"NPP_DATA_DIR": str(data)}
        _publish_beside_the_load(environment, tmp_path / "mine.jsonl")
        _a_shell_of_ones_own(log.read_text(), tmp_path)
        _await(lambda: "keeps running until" in log.read_text(), demo, log)
    output = log.read_text()
    assert "DOES NOT RECONCILE" not in output
    assert "Everything reconciles." in output
    proofs = [line for line in output.splitlines() if "first proof" in line]
    assert proofs
    assert not [line for line in proofs if "failed" in line]
    others = "{'published': 3, 'accepted': 1, 'duplicates': 1, 'rejected': 1, 'quarantined': 0}"
    assert f"others             {others}" in output
    stays, goes_on = output.splitlines()[-2:]
    assert stays == f"Payments and logs stay in {data}."
    assert goes_on.endswith(f"npp demo --data {data} --reset")


@contextmanager
def _staying(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """A demo, its data folder and its output; Ctrl-C ends it and removes its connection files."""
    data, log = folder / "demo", folder / "demo.log"
    with log.open("w") as output:
        demo = subprocess.Popen(
            npp("demo", *options, "--data", str(data)),
            stdout=output,
            stderr=output,
            env=clean_environment(),
        )
    try:
        yield demo, data, log
    finally:
        demo.send_signal(signal.SIGINT)
        code = demo.wait(END_SECONDS_MAX)
    assert code == 0, log.read_text()[-3000:]
    assert not (data / "npp.env").exists()
    assert not (data / "demo.sh").exists()


def _a_shell_of_ones_own(said: str, elsewhere: Path) -> None:
    """The printed line gives a new shell the path to npp, the data folder and a token for each
    role; only its owner can read the file that it sources.
    """
    line = next(line.strip() for line in said.splitlines() if "eval" in line)
    file = Path(shlex.split(line.removeprefix('eval "$(cat ').removesuffix(')"'))[0])
    assert file.stat().st_mode & 0o777 == 0o600
    tokens = " ".join(f'"${{{role.upper()}:?}}"' for role in sorted(ROLES))
    ask = 'curl -sSf "$NPP_API_URL/api/session" -H "Authorization: Bearer $APPROVER"'
    answer = subprocess.run(
        ["bash", "-uec", f"{line}\n: {tokens}\nnpp payment list --limit 1 --json\n{ask}"],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={"PATH": "/usr/bin:/bin"},
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert '"items"' in answer.stdout
    assert '"approver"' in answer.stdout


def _publish_beside_the_load(environment: dict[str, str], file: Path) -> None:
    """A payment with a later execution time, a duplicate, and one that is too large."""
    later = (datetime.now(UTC) + timedelta(hours=12)).isoformat(timespec="seconds")
    party = {"name": "Ada", "bsb": "062000", "account": "11112222"}
    same = {"debtor": party, "creditor": party}
    mine = {"idempotencyKey": "mine", "amount": 500, "requestedExecutionTime": later, **same}
    large = {"idempotencyKey": "large", "amount": 99_999_999_999, **same}
    file.write_text("".join(f"{json.dumps(each)}\n" for each in (mine, mine, large)))
    subprocess.run(
        npp("payment", "publish", "--file", str(file)), env=environment, check=False, timeout=120
    )


def _proven_on_a_schedule(
    run: Callable[..., str], demo: subprocess.Popen[bytes], log: Path
) -> None:
    """`npp run replay` is one of the demo's processes: the dashboard has its last full proof, of
    the whole load, and ReplayOverdue has its metric.
    """

    def proven() -> bool:
        proof = json.loads(run("top", "--json"))["summary"]["proof"]
        return bool(proof and proof["verdict"] == "PASSED" and proof["events"] > LOAD_EVENTS)

    _await(proven, demo, log)
    replay = (log.parent / "demo" / "logs" / "replay.log").read_text()
    assert [each for each in replay.splitlines() if "proof_passed" in each]
    targets = (log.parent / "demo" / "prometheus" / "prometheus.yml").read_text()
    assert "instance: replay-1" in targets


def _settled(run: Callable[..., str], payment: str) -> bool:
    """Also False while it is not on the log."""
    try:
        return '"state": "SETTLED"' in run("payment", "show", payment, "--kafka", "--json")
    except subprocess.CalledProcessError:
        return False


def _stop_and_resume(run: Callable[..., str]) -> None:
    """STOP blocks a new payment until two people and a published replay end it."""
    run("control", "stop", "--reason", "drill", "--as", "ann")
    time.sleep(CONTROL_SECONDS)
    payment = run("payment", "publish", "--key", "held-back", "--amount", "1.00").strip()
    time.sleep(2)
    with pytest.raises(subprocess.CalledProcessError):
        run("payment", "show", payment)
    run("replay", "verify", "--publish")
    _until_taken(run, "control", "resume", "--request", "--as", "ann", "--reason", "drill over")
    with pytest.raises(subprocess.CalledProcessError):
        run("control", "resume", "--confirm", "--as", "ANN")
    run("control", "resume", "--confirm", "--as", "bob")
    until = time.monotonic() + 60
    while not _at_rest(run, payment):  # settled, or refused by the rail
        assert time.monotonic() < until
        time.sleep(1)


def _until_taken(run: Callable[..., str], *words: str) -> None:
    """A control act is refused until the processes have read what it names (here the proof)."""
    until = time.monotonic() + END_SECONDS_MAX
    while True:
        try:
            run(*words)
        except subprocess.CalledProcessError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return


def _recorded(data: Path, folder: Path) -> None:
    """One command records the whole log of a running demo, and its proof passes."""
    folder.mkdir()
    for words in (("record", "demo", "--data", str(data), "--to", str(folder)), ("check",)):
        where = () if words[0] == "record" else ("--in", str(folder))
        command = [sys.executable, "-m", "tests.histories", *words, *where]
        answer = subprocess.run(
            command, capture_output=True, text=True, env=clean_environment(), check=False
        )
        assert answer.returncode == 0, answer.stderr[-4000:]
    assert [each.name for each in folder.iterdir()] == ["demo.history.xz"]


def _at_rest(run: Callable[..., str], payment: str) -> bool:
    try:
        return '"atRest": true' in run("payment", "show", payment, "--kafka", "--json")
    except subprocess.CalledProcessError:
        return False


def _await(true: Callable[[], bool], demo: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + DEMO_SECONDS_MAX / 2
    while not true():
        assert demo.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(1)
