"""Faulty inputs, and foreign changes to the logs: the alerts' own expressions become true over the
metrics of the running processes. The order matters: damage to the logs is permanent, and the last
two tests stop all processing.
"""

from __future__ import annotations

import contextlib
import sqlite3

import msgspec
import pytest

from core.records import Checkpoint
from core.values import PaymentIntentId, payment_intent_id
from engine.store.store import Store, StoreMeta
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE
from tests.acceptance.watched.product import Watched
from tests.deploy.exported import alert

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MEGABYTE = 1_048_576
UNPACKED_BYTES = 101_000_000  # a client unpacks 100,000,000
TOKEN = "no.such.token"
REFUSED_AT_ONCE = 10
BEYOND = 1_000_000  # offsets
HONEST = "honest"
NAMED_BY_OTHERS = '{alarm!~"STORE_DISCARDED|FOREIGN_RECORD|STATE_DIFFERS|LOG_TAIL_LOST"}'
STORE = "npp-payments-payments-1"


@pytest.fixture(scope="module")
def honest(watched: Watched) -> str:
    """A settled payment."""
    payment = watched.create([ACCEPT, SETTLE], key=HONEST)
    watched.until(payment, state="SETTLED")
    return payment


def test_unusable_callbacks_raise_an_alert(watched: Watched) -> None:
    """ERR-05: one unreadable, one for an unknown payment, and one that is too large to copy."""
    watched.holds("RailCallbackQuarantined", "RecordTooLargeToCopy")
    port = watched.stage.programs.variables()["NPP_WEBHOOK_PORT"]
    url = f"http://127.0.0.1:{port}/callbacks/rail"
    stranger = msgspec.json.encode(
        {"MsgType": "pacs.002", "MsgId": "M1", "OrgnlInstrId": "N0STRANGER", "TxSts": "ACSC"}
    )
    for body in (b"no message", stranger, bytes(2 * MEGABYTE)):
        assert watched.http.post(url, content=body).status_code < 500
    watched.breaks("RailCallbackQuarantined", "RecordTooLargeToCopy")
    assert watched.value("npp_adapter_quarantined_by_reference_total") == 1


def test_a_record_too_large_to_copy_raises_an_alert(watched: Watched) -> None:
    """ERR-05: five megabytes of zeros, which are small on the wire."""
    counted = "sum(npp_quarantined_by_reference_total)"
    before = watched.value(counted)
    watched.put(
        topology.COMMANDS, bytes(5 * MEGABYTE), compression_type="gzip", message_max_bytes=10**8
    )
    watched.soon(lambda: watched.value(counted) == before + 1, what=counted)
    watched.breaks("RecordTooLargeToCopy")


def test_many_refused_sign_ins_raise_an_alert(watched: Watched) -> None:
    """SEC-07."""
    watched.holds("SignInsRefused")

    def refused() -> bool:
        for _ in range(REFUSED_AT_ONCE):
            watched.ask(TOKEN, "GET", "/api/summary")
        return bool(watched.samples(alert("SignInsRefused")["expr"]))

    watched.soon(refused, what="enough are refused")
    watched.breaks("SignInsRefused")


def test_sign_ins_refused_by_the_pages_are_counted(watched: Watched) -> None:
    """SEC-07: a session is requested for a person who does not exist."""
    counted = 'sum(npp_api_requests_total{route=~"/sign-in.*", status="403"})'
    before = watched.value(counted)
    url = watched.stage.ready()["api"]
    answer = watched.http.post(f"{url}/sign-in", data={"person": "nobody", "next": "/"})
    assert answer.status_code == 403
    watched.soon(lambda: watched.value(counted) == before + 1, what=counted)


def test_a_defect_of_the_api_raises_an_alert(watched: Watched) -> None:
    """A row of the read model that our own code cannot read."""
    payment = watched.create([ACCEPT, SETTLE])
    watched.until(payment, state="SETTLED")
    watched.holds("ApiDefect")

    def is_defect() -> bool:
        """The row is damaged again while the payment still gets events."""
        with sqlite3.connect(watched.database(), timeout=30) as connection:
            changed = connection.execute(
                "UPDATE payments SET snapshot = x'00' WHERE payment_intent_id = ?", (payment,)
            )
        assert changed.rowcount == 1
        return watched.ask("view_1", "GET", f"/api/payments/{payment}").status_code == 500

    watched.soon(is_defect, what="the API answers 500")
    watched.breaks("ApiDefect")


def test_a_payment_with_an_unreadable_state_is_parked_and_raises_an_alert(
    watched: Watched, honest: str
) -> None:
    """Domain §5: the processor's own disk returns other bytes than were written."""
    watched.holds("PaymentParked")
    programs, supervisor = watched.stage.programs, watched.stage.supervisor
    assert supervisor.end("payments") == 0  # with all states on its disk
    overwrite(watched, honest, b"no state")
    supervisor.start(programs.processor("payments"))
    watched.publish_again(honest)
    watched.breaks("PaymentParked")


def test_a_batch_that_no_client_can_unpack_raises_an_alert(watched: Watched) -> None:
    """ERR-07."""
    watched.holds("PartitionUnreadable")
    watched.put(
        topology.NOTIFICATIONS,
        bytes(UNPACKED_BYTES),
        compression_type="zstd",
        message_max_bytes=2 * 10**8,
        queue_buffering_max_kbytes=2 * 10**6,
    )
    watched.breaks("PartitionUnreadable")


def test_foreign_events_raise_the_alerts_of_every_process_that_reads_them(
    watched: Watched, honest: str
) -> None:
    """MET-10, SEC-03: one creates a payment under an id that does not match its key, one has no
    predecessor: verifier, projector and the proof of the whole log report them.
    """
    alerts = ("UnauthorizedStateMutation", "ReadModelHalted", "ReplayFailed")
    watched.holds("IdempotencyBypassed", "ReadModelHalted", "ReplayFailed")
    history = watched.cluster.history(honest)
    other = payment_intent_id("api-client", "of-another-key")
    created = history[0].record
    header = msgspec.structs.replace(created.header, payment_intent_id=PaymentIntentId(other))
    forge(watched, other, msgspec.structs.replace(created, header=header))
    watched.breaks("IdempotencyBypassed")

    forge(watched, honest, history[1].record)
    watched.stage.supervisor.kill("replay")  # which starts a proof as soon as it is back
    watched.breaks(*alerts)
    watched.soon(lambda: watched.value("npp_verifier_problems_total") > 0)
    watched.soon(lambda: watched.value("npp_verifier_broken_partitions") > 0)


def test_a_log_that_lost_its_tail_halts_its_partition_and_raises_an_alert(
    watched: Watched, honest: str
) -> None:
    """ERR-07: a signed checkpoint reaches further than the journal does."""
    watched.holds("LogContradicted", "PartitionHalted")
    topic, partition = topology.CHECKPOINTS, watched.cluster.partition(honest)
    signed = watched.soon(lambda: list(watched.cluster.read(topic, partition)), what="a checkpoint")
    last = signed[-1].record
    assert isinstance(last, Checkpoint)
    further = msgspec.structs.replace(last, to_offset=last.to_offset + BEYOND)
    watched.put(topic, watched.cluster.codec.encode(topic, further), partition=partition)
    watched.stage.supervisor.kill("payments")  # which checks the checkpoints as soon as it is back
    watched.breaks("LogContradicted", "PartitionHalted")
    # A wrong clock cannot be produced here; the counter is the same one.
    watched.breaks("EngineAlarm", instead={NAMED_BY_OTHERS: ""})


def overwrite(watched: Watched, payment: str, state: bytes) -> None:
    """On the disk of a stopped processor, with nothing left to restore or compare: what is on Kafka
    would repair it.
    """
    partition = watched.cluster.partition(payment)
    places = (topology.LIFECYCLE, partition), (topology.EVENTS, partition)
    high = watched.cluster.ends.high(places)
    identity = f"{watched.cluster.ends.cluster_id()} {topology.LIFECYCLE}"
    with contextlib.closing(Store(watched.stage.data / STORE, identity)) as store:
        states = store.partition(partition)
        meta = states.meta()
        assert meta is not None
        assert states.get(payment)
        upto = StoreMeta(high[places[0]], high[places[1]], meta.written_at_ms)
        states.write([(payment, state, False)], upto)
        del states  # or RocksDB keeps its lock


def forge(watched: Watched, payment: str, event: msgspec.Struct) -> None:
    raw = watched.cluster.codec.encode(topology.EVENTS, event)
    partition = watched.cluster.partition(payment)
    watched.put(topology.EVENTS, raw, key=payment, partition=partition)
