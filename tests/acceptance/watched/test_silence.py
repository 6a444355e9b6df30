"""What stalls, hangs or is missing: the alerts' own expressions become true over the metrics of the
running processes. Where an alert waits for minutes, the test's limit is a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from contextlib import ExitStack

import pytest

from schemas import topology
from tests.acceptance.harness import KAFKA_SECONDS_MAX, rejects
from tests.acceptance.watched.product import EVERY_PROCESS, Watched

pytestmark = [pytest.mark.broker, pytest.mark.slow]

HANGS_SECONDS_MAX = 120.0  # a minute's patience, and the failing scrapes
TRANSACTION_MS_MAX = 300_000
LATE_SECONDS_MAX = 1_800.0  # older than this product
UNKNOWN_ID = 1_000_000  # of a schema
UNTOLD = 4  # customers
MISSED = (
    *("ApiMissing", "ReadModelUnfed", "PaymentsNotDecided", "AdapterMissing", "MonitorSilent"),
    *("ReplayOverdue", "JournalUnverified"),
)


def test_scheduled_checks_are_made_on_time(watched: Watched) -> None:
    """The verifier's check of the live settings, the monitor's tick, the replay's proof: each time
    is 0 at the start and then that of the last run.
    """
    begun_s = watched.stage.clock.now_ms() / 1_000 - LATE_SECONDS_MAX
    times = (
        "max(npp_retention_last_look_seconds)",
        "max(npp_monitor_last_tick_seconds)",
        "max(npp_replay_last_end_seconds)",
    )
    watched.soon(lambda: all(watched.value(each) > begun_s for each in times), what="all are made")
    watched.holds("RetentionUnwatched", "MonitorSilent", "ReplayOverdue")


def test_a_hanging_verifier_raises_an_alert_and_its_return_resolves_it(watched: Watched) -> None:
    """ESC-02: processes that neither exit nor work; the verifier for longer than the
    alert's delay.
    """
    watched.holds(*MISSED)
    supervisor = watched.stage.supervisor
    with ExitStack() as verifier, ExitStack() as others:
        for name in EVERY_PROCESS:
            back = verifier if name == "verifier" else others
            supervisor.pause(name)
            back.callback(supervisor.unpause, name)
        watched.breaks(*MISSED)
        others.close()
        path, _ = watched.notified("JournalUnverified", "firing", seconds=HANGS_SECONDS_MAX)
    assert path == "/level-2"
    watched.notified("JournalUnverified", "resolved")


def test_customers_that_cannot_be_notified_wait_and_raise_an_alert(watched: Watched) -> None:
    """INT-09: the notification service accepts the calls and answers none."""
    soon = {"> 600": "> 4"}
    watched.holds("CustomersNotNotified", instead=soon)
    watched.stage.supervisor.pause("notifications")
    try:
        for _ in range(UNTOLD):
            watched.create([rejects("AC04")])
        watched.breaks("CustomersNotNotified", instead=soon)
        watched.breaks("AdapterStalled", instead={"> 120": "> 1"})
        watched.breaks("AdapterBehind", instead={"> 1000": "> 0"})
    finally:
        watched.stage.supervisor.unpause("notifications")
    watched.soon(
        lambda: not watched.value("npp_adapter_instructions_held"), what="all are notified"
    )


def test_an_open_transaction_on_the_journal_raises_an_alert(watched: Watched) -> None:
    """JOB-03: the records behind it are not signed."""
    alerts = {"TransactionHangs": {"> 60": "> 1"}, "VerifierBehind": {"> 60": "> 1"}}
    watched.soon(lambda: not watched.samples("npp_verifier_delay_seconds > 1"), what="caught up")
    for name, instead in alerts.items():
        watched.holds(name, instead=instead)
    producer = watched.producer(
        **{"transactional.id": "hangs", "transaction.timeout.ms": TRANSACTION_MS_MAX}
    )
    producer.init_transactions(KAFKA_SECONDS_MAX)
    producer.begin_transaction()
    for partition in range(watched.cluster.partitions(topology.EVENTS)):
        producer.produce(topology.EVENTS, b"x", b"k", partition)
    assert producer.flush(KAFKA_SECONDS_MAX) == 0
    try:
        payment = watched.asked_for()
        for name, instead in alerts.items():
            watched.breaks(name, instead=instead)
    finally:
        producer.abort_transaction(KAFKA_SECONDS_MAX)
    watched.until(payment, state="SETTLED")


def test_inputs_that_wait_for_the_schema_registry_raise_an_alert(watched: Watched) -> None:
    """JOB-03: the registry does not answer, and one record has a schema that only it may know."""
    soon = {"> 120": "> 1"}
    watched.holds("InputsStalled", instead=soon)
    registry = watched.stage._registry
    assert registry is not None
    os.kill(registry.pid(), signal.SIGSTOP)
    try:
        watched.put(topology.COMMANDS, b"\0" + UNKNOWN_ID.to_bytes(4, "big") + b"x")
        watched.breaks("InputsStalled", instead=soon)
    finally:
        os.kill(registry.pid(), signal.SIGCONT)
    watched.soon(lambda: not watched.samples("npp_engine_stalled_seconds > 0"), what="all goes on")


def test_a_locked_database_leaves_the_read_model_behind(watched: Watched) -> None:
    """DEP-06: another client holds the database's lock."""
    soon = {"> 30": "> 1"}
    watched.holds("ReadModelBehind", instead=soon)
    with contextlib.closing(sqlite3.connect(watched.database(), timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        payment = watched.asked_for()
        watched.breaks("ReadModelBehind", instead=soon)
        connection.rollback()
    watched.until(payment, state="SETTLED")
