"""The operators file of a running set-up, from one version to the next: which process has which
version, whose keys are accepted, replayed acts, expired entries, and recovery when nobody can sign
any more (domain §4).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import cluster as product
from app.config import settings
from app.platform.broker import Cluster
from app.platform.children import free_ports
from control.acts import key_file
from control.acts.act_signature import signed
from control.acts.actors import REDRIVER
from core.control_records import UnparkRequested
from core.values import PaymentIntentId
from schemas import topology
from tests.broker.harness import Harness
from tests.broker.processes import Process, answers

SECONDS_MAX = 90.0
# Carl's entry lives longer than the acts before its end take; one command says how long that is.
LIVES_S_MIN, LIVES_S_MAX, COMMANDS = 75.0, 400.0, 25


class People:
    """Keys in files, and operators files that list them."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.folder = harness.folder / "people"
        self.folder.mkdir()
        made = Path(harness.env["NPP_DATA_DIR"]) / "operators"
        self.first = made / "operators.yaml"
        self._made = made
        self._content = self.first.read_bytes()
        self.number = 1

    def key(self, name: str) -> Path:
        path = self.folder / f"{name}.pem"
        if not path.exists():
            key_file.new().write(path, None)
        return path

    def line(self, name: str, key: str, until: datetime | None = None) -> str:
        end = "" if until is None else f", validUntil: {until.isoformat()}"
        public = key_file.read(self.key(key), None).public.hex()
        return f"  - {{id: {name}, roles: [admin], publicKeys: [{public}]{end}}}"

    def next_file(self, *lines: str) -> Path:
        """The next version: the entry of everybody whom `lines` does not name has ended."""
        self.number += 1
        named = {line.partition("id: ")[2].partition(",")[0] for line in lines}
        over = "validUntil: 2020-01-01T00:00:00+00:00"
        before = [
            f"  - {{id: {name}, roles: [admin], publicKeys: [], {over}}}"
            for name in self._names()
            if name not in named
        ]
        processes = [
            f"  - {{id: {name}, publicKeys: [{self._public(name)}]}}"
            for name in ("replay", REDRIVER)
        ]
        head = [f"number: {self.number}", f"previous: {hashlib.sha256(self._content).hexdigest()}"]
        text = "\n".join([*head, "persons:", *lines, *before, "processes:", *processes, ""])
        path = self.folder / f"operators-{self.number}.yaml"
        path.write_text(text, encoding="utf-8")
        self._content = text.encode()
        return path

    def _names(self) -> list[str]:
        persons = self._content.decode().partition("processes:")[0]
        return [p.partition(",")[0] for p in persons.split("id: ")[1:]]

    def _public(self, process: str) -> str:
        return key_file.read(self._made / f"{process}.pem", None).public.hex()

    # -- operators' actions ------------------------------------------------------------------------

    def npp(self, file: Path, key: Path, *words: str, check: bool = True) -> str:
        more = {"NPP_OPERATORS_FILE": str(file), "NPP_OPERATOR_KEY_FILE": str(key)}
        done = self.harness.npp(*words, check=check, more=more)
        return done.stdout + done.stderr

    def rotate(self, old: Path, file: Path, first: Path, second: Path) -> list[int]:
        """Two people put the file in force; the offsets of both acts."""
        output = json.loads(self.npp(old, first, "control", "operators", str(file), "--json"))
        self.npp(file, second, "control", "confirm", str(output["offset"]))
        return [output["offset"], output["offset"] + 1]


class Set:
    """A set-up without payments processors, and records that the commands would refuse to write."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.people = People(harness)

    def adapters(self, name: str, file: Path, **env: str) -> Process:
        self.harness.env |= {"NPP_OPERATORS_FILE": str(file), **env}
        adapters = self.harness.start_adapters(name)
        self.harness.ready(*self.harness.processes[:3], adapters)
        return adapters

    def payments(self, name: str, file: Path, **env: str) -> Process:
        port = free_ports(1)[0]
        env |= {"NPP_OPERATORS_FILE": str(file), "NPP_INSTANCE_ID": name}
        command = [sys.executable, "-m", "app.cli.npp", "run", "payments"]
        return self.harness._start(name, command, {**env, "NPP_METRICS_PORT": str(port)}, port)

    def cluster(self) -> product.Cluster:
        return product.Cluster(settings.load(self.harness.env))

    def again(self, offset: int) -> None:
        """The same bytes of a control record, written again by anyone with write access."""
        with self.cluster() as cluster:
            records = cluster.read(topology.CONTROL, 0)
            value = next(each.at.value for each in records if each.at.offset == offset)
        producer = self.harness.producer()
        producer.produce(topology.CONTROL, value, None, 0)
        assert producer.flush(SECONDS_MAX) == 0

    def act(self, person: str, key: Path) -> None:
        """A genuine signature over a new act, bypassing the command line's own checks."""
        with self.cluster() as cluster:
            control, now = cluster.control()[0], cluster.clock.now_ms()
            assert control.cluster is not None
            record = UnparkRequested(
                payment_intent_id=PaymentIntentId("pi_" + "a" * 26), sequence=1, reason="r",
                requested_at=now, actor=person,
            )  # fmt: skip
            act = signed(
                record, key=key_file.read(key, None), cluster_id=control.cluster.cluster_id,
                number=max(now, control.last_number(person) + 1), signed_at=now,
            )  # fmt: skip
            cluster.publish_control(act)


@pytest.fixture
def made(fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path) -> Iterator[Set]:
    harness = Harness(fresh_cluster(heap_mb=384).bootstrap, registry, tmp_path / "harness")
    try:
        harness.apply()
        harness.start_simulators()
        yield Set(harness)
    finally:
        harness.close()


def until(what: str, found: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not found():
        assert process.alive(), process.log.read_text()[-2_000:]
        assert time.monotonic() < deadline, f"{what}\n{process.log.read_text()[-3_000:]}"
        time.sleep(0.2)


def refused(process: Process, rule: str) -> float:
    name = f'npp_control_acts_refused_total{{rule="{rule}"}}'
    return process.metrics().get(name, 0.0)


def settles(made: Set) -> None:
    """Payments go through from end to end."""
    made.harness.publish(3, happy_path=True)
    made.harness.at_rest()


@pytest.mark.timeout(1_500)
def test_operators_file_versions_replace_each_other_on_a_running_set_up(made: Set) -> None:
    """SEC-02, SEC-07, domain §4."""
    people = made.people
    ann, bob = (people._made / f"{name}.pem" for name in ("ann", "bob"))
    begun_s = time.monotonic()
    people.npp(people.first, ann, "control", "confirm", "0", check=False)
    lives_s = min(max(LIVES_S_MIN, COMMANDS * (time.monotonic() - begun_s)), LIVES_S_MAX)
    soon = datetime.now(UTC) + timedelta(seconds=lives_s)
    second = people.next_file(
        people.line("ann", "ann-new"), people.line("bob", "bob"), people.line("carl", "carl", soon)
    )

    # Deployed, not in force: a process with either version works, and the old keys are accepted.
    adapters = made.adapters("adapters-1", second)
    ahead = made.payments("payments-ahead", second)
    made.harness.ready(ahead)
    settles(made)
    output = people.npp(second, people.key("ann-new"), "control", "confirm", "0", check=False)
    assert "is not in the operators file in force" in output

    # Put in force by an act under the old version: a process that has the file continues, one that
    # lacks it takes no partition.
    old = people.rotate(people.first, second, ann, bob)
    made.act("carl", people.key("carl"))
    left_s = (soon - datetime.now(UTC)).total_seconds()
    assert left_s > 0, "this machine was too slow for carl's time"
    settles(made)
    assert ahead.metric("npp_control_acts_refused_total") == 0
    behind = made.payments("payments-behind", people.first)
    until("it says which file it lacks",
          lambda: "operators file 2" in behind.log.read_text()
          and "is in force, 1 (" in behind.log.read_text(), behind)  # fmt: skip
    assert not ready(behind)
    behind.stop()
    settles(made)

    # The old key, and a replayed old act, are refused by every process.
    output = people.npp(second, ann, "control", "confirm", "0", check=False)
    assert "is not in the operators file in force" in output
    made.act("ann", ann)
    until("the old key", lambda: refused(ahead, "UNKNOWN_KEY") == 1, ahead)
    for offset in old:
        made.again(offset)
    until("old acts", lambda: refused(ahead, "UNKNOWN_KEY") + refused(ahead, "WRONG_REQUEST")
          + refused(ahead, "NUMBER_USED") >= 3, ahead)  # fmt: skip
    made.act("bob", people.key("bob"))
    with made.cluster() as cluster:
        end = cluster.control()[1]
    made.again(end - 1)
    until("an act of the new file written again",
          lambda: refused(ahead, "NUMBER_USED") >= 1, ahead)  # fmt: skip

    # A person's entry expires while the file is in force.
    assert refused(ahead, "EXPIRED") == 0
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 1)
    made.act("carl", people.key("carl"))
    until("his end", lambda: refused(ahead, "EXPIRED") == 1, ahead)
    settles(made)

    # Nobody can sign any more: a hash configured in every process allows the next file.
    third = people.next_file(people.line("ann", "ann-3"), people.line("bob", "bob-3"))
    reset = hashlib.sha256(third.read_bytes()).hexdigest()
    stranger = people.next_file(people.line("ann", "mallory"), people.line("bob", "mallory-2"))
    content = stranger.read_text().replace("number: 4", "number: 3")
    stranger.write_text(content.replace(reset, hashlib.sha256(second.read_bytes()).hexdigest()))
    more = {"NPP_OPERATORS_FILE": str(third), "NPP_OPERATORS_RESET": reset}
    made.harness.npp("control", "operators", str(stranger), "--reset", more=more)
    until("another's file", lambda: refused(ahead, "UNSIGNED") >= 1, ahead)
    settles(made)
    ahead.stop()
    adapters.stop()
    adapters = made.adapters("adapters-2", third, NPP_OPERATORS_RESET=reset)
    after = made.payments("payments-after", third, NPP_OPERATORS_RESET=reset)
    made.harness.ready(after)  # deployed, while the previous one is still in force
    made.harness.npp("control", "operators", str(third), "--reset", more=more)
    until("the reset", lambda: refused(after, "OPERATORS_RESET") == 1, after)
    known = refused(after, "UNKNOWN_KEY")
    made.act("bob", people.key("bob"))
    until("a key of before", lambda: refused(after, "UNKNOWN_KEY") == known + 1, after)
    for name in ("ann", "bob"):
        made.act(name, people.key(f"{name}-3"))
    made.act("bob", people.key("bob"))
    until("it again", lambda: refused(after, "UNKNOWN_KEY") >= known + 2, after)
    assert refused(after, "UNKNOWN_KEY") == known + 2  # and neither of the new keys
    settles(made)


def ready(process: Process) -> bool:
    return answers(f"http://127.0.0.1:{process.port}/readyz")
