"""docs/publish.md: its vectors are correct, and its names are those of the catalogue."""

from __future__ import annotations

import re
from typing import Final

from core.values import payment_intent_id
from engine.partitioner import partition_of
from schemas import catalogue, topology
from tests.rooms import ROOT

TEXT: Final = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"\| `([\w-]+)` \| `([\w-]+)` \| `(pi_\w+)` \| (\d+) \| (\d+) \|")


def test_the_vectors_are_those_of_the_product() -> None:
    """IDM-06: id and partition, for the counts of the embedded and the production profile."""
    rows = ROW.findall(TEXT)
    assert len(rows) == 4
    for source, key, payment, of_six, of_many in rows:
        assert payment == payment_intent_id(source, key)
        assert int(of_six) == partition_of(payment.encode(), 6)
        assert int(of_many) == partition_of(payment.encode(), 48)


def test_an_upstream_system_may_read_the_topics_it_is_pointed_to() -> None:
    may_read = {t.name for t in catalogue.load().topics if "upstream" in t.consumers}
    assert may_read == {topology.LIFECYCLE, topology.OUTCOMES}
    assert all(f"`{name}`" in TEXT for name in may_read)
