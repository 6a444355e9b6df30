"""The API over a real read model of a whole history, without a broker: what reads need.

Commands, audit and the journal are plain implementations of their ports; all else is the product.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from api.app import ApiSettings, create_app
from api.auth.keys import KeySource, from_file
from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer
from api.auth.tokens import Tokens, TokenSettings
from api.services import Principal, Services, Stopped
from control.acts.roles import ROLES
from core.header import InputHeader, OperatorHeader
from core.values import PaymentIntentId
from engine.clock import SystemClock
from engine.partitioner import partition_of
from schemas import topology as t
from tests.evidence.harness import Harness
from tests.processors.payments.clean_history import PARTITIONS, SOURCE

Response = Any  # the test client's, whichever library it uses
CLIENT = "till-7"
OTHER_CLIENT = "kiosk-1"


class NoCommands:
    """Processing is stopped: no command is accepted."""

    def __init__(self, control: Any) -> None:
        self._control = control

    def header(self, payment_intent_id: str, traceparent: str | None) -> InputHeader:
        return InputHeader(payment_intent_id=PaymentIntentId(payment_intent_id), command_id="cmd-0")

    def operator(self, principal: Principal, approval_id: str | None) -> OperatorHeader:
        return OperatorHeader(
            operator_id=principal.id, roles=(), token_id=principal.token_id, not_after=0
        )

    def operate(self, *_: object, **__: object) -> Any:
        raise Stopped("Processing is stopped: stp_1: a test")

    def submit(self, *_: object, **__: object) -> Any:
        raise Stopped("Processing is stopped: stp_1: a test")

    def pending(self, command_id: str) -> int | None:
        return 1_790_000_000_000 if command_id == "cmd-waits" else None

    def control(self) -> Any:
        return self._control

    def write_control(self, _: object) -> int:
        raise Stopped("Processing is stopped: stp_1: a test")


class Notes:
    """Keeps the audit notes."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def note(self, principal: Principal | None, action: str, **rest: Any) -> None:
        who = principal.id if principal is not None else None
        self.kept.append({"principal": who, "action": action, **rest})


class Journal:
    """The driver's own log."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    def created(self, payment_intent_id: str) -> tuple[int, int] | None:
        key = payment_intent_id.encode()
        found = [r for r in self._harness.world.driver.committed(t.EVENTS) if r.key == key]
        return (partition_of(key, PARTITIONS), found[0].offset) if found else None

    def ends(self) -> dict[int, int]:
        ends: dict[int, int] = {}
        for record in self._harness.world.driver.committed(t.EVENTS):
            ends[record.partition] = record.offset + 1
        return ends


class ApiHarness:
    """`get` and `post` as a user with these roles."""

    def __init__(self, folder: Path, settings: ApiSettings | None = None) -> None:
        self.harness = Harness(folder / "readmodel")
        self.clock = SystemClock()
        self.notes = Notes()
        self.issuer = LocalIssuer(folder / "keys", self.clock)
        self.keys = KeySource(from_file(self.issuer.jwks), self.clock, local_keys=True)
        self.tokens = Tokens(TokenSettings(LOCAL_ISSUER, LOCAL_AUDIENCE), self.keys, self.clock)
        ring: Any = self.harness.ring
        self.services = Services(
            reader=self.harness.reader,
            commands=NoCommands(self.harness.world.control),
            audit=self.notes,
            evidence=self.harness.packs,
            clock=self.clock,
            codec=self.harness.world.codec,
            journal=Journal(self.harness),
            sources={CLIENT: SOURCE, OTHER_CLIENT: "elsewhere"},
            keyring=ring,
            partitions=PARTITIONS,
            reads_on_loop=True,
        )
        self.app = create_app(self.services, self.tokens, settings)
        self.http = TestClient(self.app, raise_server_exceptions=False)

    def close(self) -> None:
        self.http.close()
        self.harness.close()

    def token(self, *roles: str, client: str | None = None, subject: str = "ops_1") -> str:
        return self.issuer.issue(subject, roles or tuple(ROLES), client_id=client)

    def get(
        self, path: str, *roles: str, client: str | None = None, headers: Any = None, **query: Any
    ) -> Response:
        """The response to a GET by a user with these roles; viewer by default."""
        token = self.token(*(roles or ("viewer",)), client=client)
        given = {"Authorization": f"Bearer {token}", **(headers or {})}
        requested = {name.rstrip("_"): value for name, value in query.items()}
        return self.http.get(path, params=requested, headers=given)

    def post(self, path: str, *roles: str, content: bytes, headers: Any = None) -> Response:
        given = {
            "Authorization": f"Bearer {self.token(*roles)}",
            **({"Content-Type": "application/json"} if content else {}),
            **(headers or {}),
        }
        return self.http.post(path, content=content, headers=given)


def mixed_harness(
    folder: Path, nasty: str = "", settings: ApiSettings | None = None
) -> tuple[ApiHarness, dict[str, str]]:
    """A harness with some of every case, and its payments by name; `nasty` is the text that the
    payer of one of them wrote.
    """
    harness = ApiHarness(folder, settings)
    names = harness.harness.world.mixed()
    if nasty:
        names["nasty"] = harness.harness.create("nasty", nasty.strip(), nasty)
        harness.harness.world.settle()
    harness.harness.all()
    return harness, names
