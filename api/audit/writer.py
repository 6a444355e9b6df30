"""Writes requests that did not become a command to the audit log, before they are answered.

Refusals are cheap to cause, and the audit log is kept for years: for each person, and for all
unauthenticated callers together, some refusals of each minute are written individually, the rest as
one record with their count. Granted requests are always written individually.
"""

from __future__ import annotations

import re
import secrets
import threading
from typing import Final, Unpack

import orjson
import structlog

from api.actions.commands import publish
from api.services import AuditDetails, Principal, PublishUnconfirmed
from core.records import OperatorAudit
from engine.clients.publisher import Publisher
from engine.clock import Clock
from engine.partitioner import partition_of
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("npp.api")

ANONYMOUS: Final = "anonymous"
SINGLE_COUNT_MAX: Final = 20  # refusals without a name written one by one in each window
SINGLE_OF_ONE_COUNT_MAX: Final = 60  # of one person
REFUSED_STATUS_MIN: Final = 400
WINDOW_S: Final = 60.0
KINDS_COUNT_MAX: Final = 100  # kinds of refusals of one person that are counted apart
PEOPLE_COUNT_MAX: Final = 10_000  # in one window; refusals of further people are all written
PATH_CHARACTERS_MAX: Final = 300
TEXT_CHARACTERS_MAX: Final = 1_000
SEGMENT_CHARACTERS_MAX: Final = 64  # no id of ours is longer; it may be a token
AUDIT_ID_BYTES: Final = 12
CLOSE_S_MAX: Final = 10.0
HIDDEN: Final = "..."
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")

Kind = tuple[str, str, str, int, str, str]  # action, method, path, status, code, rule


class KafkaAudit:
    """See api.services.Audit. Safe for many threads; `start` before use, `close` after it."""

    def __init__(
        self, *, publisher: Publisher, codec: Codec, clock: Clock, partitions: int
    ) -> None:
        """`partitions`: of the audit topic."""
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._partitions = partitions
        self._lock = threading.Lock()
        self._window_s = clock.monotonic_s()
        self._tallies: dict[str, _Tally] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="npp-audit", daemon=True)

    def start(self) -> None:
        """Start writing the counts, window by window."""
        self._thread.start()

    def close(self) -> None:
        """Write the counted refusals and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S_MAX)

    def note(
        self,
        principal: Principal | None,
        action: str,
        *,
        method: str,
        path: str,
        status: int,
        **details: Unpack[AuditDetails],
    ) -> None:
        """As api.services.Audit; a refusal may only be counted."""
        place = shown_path(path)
        if status >= REFUSED_STATUS_MIN:
            code, rule = details.get("code") or "", details.get("rule") or ""
            if self._count(principal, (action, method, place, status, code, rule)):
                return
        details["reason"], details["sentence"] = (
            _text(details.get("reason")),
            _text(details.get("sentence")),
        )
        self._write(
            OperatorAudit(
                audit_id=_audit_id(),
                at=self._clock.now_ms(),
                operator_id=ANONYMOUS if principal is None else principal.id,
                roles=() if principal is None else tuple(sorted(principal.roles)),
                action=action,
                method=method,
                path=place,
                status=status,
                token_id=None if principal is None else principal.token_id,
                client_id=None if principal is None else principal.client_id,
                **details,
            )
        )

    def _count(self, principal: Principal | None, kind: Kind) -> bool:
        """Whether this one is counted instead of written."""
        who = ANONYMOUS if principal is None else principal.id
        single_max = SINGLE_COUNT_MAX if principal is None else SINGLE_OF_ONE_COUNT_MAX
        with self._lock:
            tally = self._tallies.get(who)
            if tally is None:
                if len(self._tallies) >= PEOPLE_COUNT_MAX:
                    return False
                roles = () if principal is None else tuple(sorted(principal.roles))
                tally = self._tallies[who] = _Tally(roles)
            if tally.single < single_max:
                tally.single += 1
                return False
            tally.add(kind)
            return True

    def _run(self) -> None:
        while not self._closing.wait(WINDOW_S):
            self._end_window()
        self._end_window()

    def _end_window(self) -> None:
        with self._lock:
            since_s, self._window_s = self._window_s, self._clock.monotonic_s()
            tallies, self._tallies = self._tallies, {}
        seconds = round(self._window_s - since_s)
        for who, tally in tallies.items():
            for kind, times in tally.counted.items():
                try:
                    self._write(self._summary(who, tally.roles, kind, times, seconds))
                except PublishUnconfirmed:
                    log.exception("audit_not_written", action=kind[0], rule=kind[5], times=times)

    def _summary(
        self, who: str, roles: tuple[str, ...], kind: Kind, times: int, seconds: int
    ) -> OperatorAudit:
        action, method, path, status, code, rule = kind
        return OperatorAudit(
            audit_id=_audit_id(),
            at=self._clock.now_ms(),
            operator_id=who,
            roles=roles,
            action=action,
            method=method,
            path=path,
            status=status,
            code=code or None,
            rule=rule or None,
            sentence="More of the same, counted and not written one by one.",
            detail=orjson.dumps({"times": times, "seconds": seconds}).decode(),
        )

    def _write(self, record: OperatorAudit) -> None:
        key = (record.payment_intent_id or record.operator_id).encode()
        value = self._codec.encode(topology.AUDIT, record)
        publish(self._publisher, topology.AUDIT, key, value, partition_of(key, self._partitions))


class _Tally:
    """One caller's refusals of a window: how many were written, and how often the others came."""

    __slots__ = ("counted", "roles", "single")

    def __init__(self, roles: tuple[str, ...]) -> None:
        self.roles = roles
        self.single = 0
        self.counted: dict[Kind, int] = {}

    def add(self, kind: Kind) -> None:
        """Count one refusal; beyond KINDS_COUNT_MAX kinds, without its path."""
        if kind not in self.counted and len(self.counted) >= KINDS_COUNT_MAX:
            kind = (kind[0], kind[1], HIDDEN, *kind[3:])
        self.counted[kind] = self.counted.get(kind, 0) + 1


def shown_path(path: str) -> str:
    """The path for the audit log: without query, unprintable characters and long segments."""
    plain = _UNSAFE.sub("?", path.partition("?")[0])
    parts = [p if len(p) <= SEGMENT_CHARACTERS_MAX else HIDDEN for p in plain.split("/")]
    return "/".join(parts)[:PATH_CHARACTERS_MAX]


def _text(value: str | None) -> str | None:
    return None if value is None else value[:TEXT_CHARACTERS_MAX]


def _audit_id() -> str:
    return "aud-" + secrets.token_hex(AUDIT_ID_BYTES)
