"""Fault row 16, the part that needs people: the group's offsets are lost, two persons recover."""

from __future__ import annotations

import re
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.auditor.evidence import GROUP
from tests.kafka.harness import House, committed_offsets

EMPTY_SECONDS_MAX = 40.0
REFUSED = 1


def delete_group(bootstrap: str) -> None:
    """The payments group and all its committed offsets are gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + EMPTY_SECONDS_MAX
    while True:
        try:
            admin.delete_consumer_groups([GROUP], request_timeout=5.0)[GROUP].result()
        except KafkaException:  # a killed member is in it until its session ends
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def recover(house: House, *partitions: int) -> str:
    """Asked by alice, refused to alice, confirmed by bob; what was printed in the end."""
    named = [word for number in partitions for word in ("--partition", str(number))]
    asked = house.npp("recover", "--request", *named, "--as", "alice", "--reason", "drill 4713")
    request = re.search(r"rec_[0-9a-f]+", asked.stdout)
    assert request is not None, asked.stdout
    alone = house.npp("recover", "--confirm", request[0], "--as", "Alice ", check=False)
    assert alone.returncode == REFUSED
    assert "second person" in alone.stderr
    return house.npp("recover", "--confirm", request[0], "--as", "bob").stdout


def test_row_16_lost_offsets_stop_the_start_and_two_persons_recover_them(house: House) -> None:
    """EV-07, OP-33: nothing is decided twice, and what was not decided yet is."""
    process = house.start_payments()
    house.ready(process)
    house.publish(40, sunny=True)
    before, _ = house.outcome_of_run()
    assert process.stop() == 0
    known = committed_offsets(house.bootstrap)
    house.publish(15, sunny=True)  # nobody decides these yet
    delete_group(house.bootstrap)
    assert committed_offsets(house.bootstrap) == {}

    process = house.start_payments()
    assert process.exited() != 0
    said = process.log.read_text()
    assert "OFFSETS_LOST" in said
    assert "npp recover" in said
    assert committed_offsets(house.bootstrap) == {}, "it made offsets up"

    printed = recover(house)
    found = committed_offsets(house.bootstrap)
    assert found.keys() == known.keys()
    assert all(0 <= found[place] <= at for place, at in known.items()), "it skips an input"
    assert f"→ {max(found.values())}" in printed
    assert house.waiting() >= 15, "NV: nothing was undecided"

    process = house.start_payments()
    house.ready(process)
    report, moved = house.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == 15
    assert moved["rail settled"] == 15
    assert moved["CreatePayment DUPLICATE"] == 0, "an input was decided twice"
    assert report.counters["settled twice"] == before.counters["settled twice"] == 0
