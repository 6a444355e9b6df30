"""People with keys for tests of the control topic: a key for each name, and an operators file.

Everything is derived from the names, so that a test can be repeated byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import Any

from control.acts import operators_file
from control.acts.act_signature import signed
from control.acts.actors import PERSONS_ACTS, REDRIVER
from control.acts.key_file import SigningKey
from control.fold import Control
from core.control_records import OperatorsActivated, ProofPassed, RedriveDone
from tests.keys import key_from_seed

CLUSTER = "test-cluster"
PERSONS = (
    "ann", "bob", "carl", "alice", "ada", "adam", "adm_1", "adm_2", "olga", "fern", "gus",
    "sue", "ben",
)  # fmt: skip
PROCESSES = ("replay", REDRIVER)


def key_of(name: str) -> SigningKey:
    """The key of the person with this name, the same in every run."""
    return key_from_seed(hashlib.sha256(name.encode()).digest())


def file_text(
    *persons: str, number: int = 1, previous: str = "", lines: tuple[str, ...] = ()
) -> bytes:
    """An operators file with these admins; `lines` add further people."""
    admins = [
        f"  - {{id: {name}, roles: [admin], publicKeys: [{key_of(name).public.hex()}]}}"
        for name in persons or PERSONS
    ]
    processes = [
        f"  - {{id: {name}, publicKeys: [{key_of(name).public.hex()}]}}" for name in PROCESSES
    ]
    head = [f"number: {number}", f'previous: "{previous}"', "persons:"]
    return "\n".join([*head, *admins, *lines, "processes:", *processes, ""]).encode()


def activated(content: bytes | None = None, actor: str = "test") -> OperatorsActivated:
    """The control record that holds the file; unsigned."""
    content = file_text() if content is None else content
    file = operators_file.parse(content)
    return OperatorsActivated(
        number=file.number, sha256=file.sha256, content=content, activated_at=0, actor=actor
    )


def needs_signature(record: Any) -> bool:
    """Whether every process refuses it unsigned."""
    return isinstance(record, (*PERSONS_ACTS, ProofPassed, RedriveDone))


class Hands:
    """Signs in anybody's name, using each number once."""

    def __init__(self, cluster_id: str = CLUSTER) -> None:
        self.cluster_id = cluster_id
        self._number = 0

    def in_turn(self, control: Control, record: Any, at: int = 0) -> Any:
        """The record as it goes on the topic next: signed if necessary."""
        if not needs_signature(record) or record.signature is not None:
            return record
        if control._in_force.is_first(record):
            return record
        return self.sign(record, control._request_of(record), at=at)

    def sign(
        self,
        record: Any,
        request: Any | None = None,
        *,
        key: SigningKey | None = None,
        number: int | None = None,
        at: int = 0,
    ) -> Any:
        """The record signed by its actor; `request` is the signed record that it confirms."""
        self._number += 1
        return signed(
            record,
            key=key or key_of(record.actor.strip().casefold()),
            cluster_id=self.cluster_id,
            number=self._number if number is None else number,
            signed_at=at,
            request=request,
        )
