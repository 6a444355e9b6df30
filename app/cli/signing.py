"""Signing control acts: the key, its owner, and what it signs (docs/decisions/0017).

In demo and test `--as ID` picks a generated key; otherwise `--key FILE` or NPP_OPERATOR_KEY_FILE,
and the operators file names its owner.
"""

from __future__ import annotations

import sys
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app.cli.api_client import Api, Call
from app.config import settings
from app.config.settings import Environment, Profile
from app.control import operators
from app.exits import ExitCode, Problem, usage
from control.acts import act_json, key_file
from control.acts.act_signature import key_id_of, signed
from control.acts.key_file import SigningKey
from control.fold import Control
from core.values import same_person
from engine.clock import MS_PER_S, SystemClock
from engine.loop.assignment import CLOCK_DIFFERENCE_MS_MAX

PASSPHRASE_BYTES_MAX: Final = 1_000

Key = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Your key file; default: NPP_OPERATOR_KEY_FILE.", show_default=False
    ),
]


class SigningContext(msgspec.Struct, frozen=True):
    """The data of the control topic that a signature needs, from Kafka or from the API."""

    cluster_id: str
    owners: dict[str, str]  # key id → person
    numbers: dict[str, int]  # last used
    requests: list[tuple[int, Any]]  # that wait for a second person
    # How far this clock certainly differs from theirs, in ms; above 0 it is ahead. The API states
    # its time. Of the broker only the last append time is known, so here a clock that is ahead is
    # noticed only after the act is written (`Cluster.publish_control`).
    off_ms: int = 0

    def request(self, offset: int) -> Any | None:
        """The request at this control offset."""
        return next((each for at, each in self.requests if at == offset), None)

    def named(self, request_id: str) -> Any | None:
        """The request of this id, rdr_… or rec_…."""
        ids = ((getattr(each, "request_id", None), each) for _, each in self.requests)
        return next((each for name, each in ids if name == request_id), None)


class ActSigner(msgspec.Struct, frozen=True):
    """A person with a key who signs acts of one control topic."""

    person: str
    key: SigningKey
    context: SigningContext

    def sign(self, record: Any, request: Any | None = None) -> Any:
        """The record in this person's name, signed now."""
        now = SystemClock().now_ms()
        number = max(now, self.context.numbers.get(self.person, 0) + 1)
        self.context.numbers[self.person] = number
        return signed(
            msgspec.structs.replace(record, actor=self.person),
            key=self.key,
            cluster_id=self.context.cluster_id,
            number=number,
            signed_at=now,
            request=request,
        )


def of_control(control: Control) -> SigningContext:
    """From the control topic itself. Raises Problem when there is no operators file in force."""
    file = control.operators
    if file is None or control.cluster is None:
        raise Problem("No operators file is in force.", do="`npp topics apply` puts the first.")
    return SigningContext(
        cluster_id=control.cluster.cluster_id,
        owners={
            key_id_of(bytes.fromhex(key)): each.id
            for each in file.persons
            for key in each.public_keys
        },
        numbers={each.id: control.last_number(each.id) for each in file.persons},
        requests=control.requests(),
        off_ms=min(0, SystemClock().now_ms() - control.appended_at),
    )


def of_api(api: Api) -> SigningContext:
    """From the API. Raises Problem."""
    reply = api.ask(Call("GET", "/api/control"))
    shown = reply.body
    persons = (shown["operators"] or {"persons": []})["persons"]
    return SigningContext(
        cluster_id=shown["clusterId"] or "",
        owners={key: each["id"] for each in persons for key in each["keyIds"]},
        numbers={each["id"]: each["lastNumber"] for each in persons},
        requests=[(each["offset"], act_json.from_json(each["act"])) for each in shown["requests"]],
        off_ms=_off_ms(reply.headers.get("date", "")),
    )


def _off_ms(date: str) -> int:
    """This clock against the Date of an answer just had (RFC 9110, whole seconds)."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return 0  # unknown: each process checks the time itself
    return SystemClock().now_ms() - int(theirs.timestamp() * MS_PER_S)


def require_clock(off_ms: int) -> None:
    """Raises Problem for a clock that is off: its signature would not be accepted, or be accepted
    for too long (domain §4).
    """
    if abs(off_ms) > CLOCK_DIFFERENCE_MS_MAX:
        way = "ahead of" if off_ms > 0 else "behind"
        raise Problem(
            f"This clock is {abs(off_ms) // MS_PER_S} s {way} theirs: nothing is signed.",
            means="An act is accepted only within 10 minutes of its signing.",
            do="Set this machine's clock by NTP, then repeat it.",
        )


def signer_of(requested: SigningContext, operator: str, path: Path | None) -> ActSigner:
    """The signer, after a check of this machine's clock. Raises Problem."""
    found = signer_for_stop(requested, operator, path)
    require_clock(requested.off_ms)
    return found


def signer_for_stop(requested: SigningContext, operator: str, path: Path | None) -> ActSigner:
    """The signer, without a clock check: a STOP is obeyed in any case. Raises Problem."""
    key = open_key(settings.load(), operator, path)
    person = requested.owners.get(key.key_id)
    if person is None:
        raise Problem(
            f"Key {key.key_id} is not in the operators file in force.",
            do="`npp keys show` prints the line for it; `npp control operators` puts a file in "
            "force.",
        )
    return ActSigner(person, key, requested)


def carry(api: Api, path: str, record: Any) -> dict[str, Any]:
    """Send the signed act to the API; returns its answer. Raises Problem."""
    return dict(api.ask(Call("POST", path, body=act_json.to_json(record))).body)


def open_key(environment: Environment, operator: str, path: Path | None) -> SigningKey:
    """The key of the person who acts. Raises Problem."""
    production = environment.settings.profile is Profile.PRODUCTION
    if operator and production:
        raise usage(
            "--as is refused under the production profile.",
            do="Your key says who acts: --key FILE, or NPP_OPERATOR_KEY_FILE.",
        )
    path = path or (None if operator else environment.settings.operator_key_file)
    if path is None and operator:
        path = _made_for(environment.operators_folder(), operator)
    if path is None:
        raise usage(
            "Say who acts: this is signed.",
            do="--key FILE or NPP_OPERATOR_KEY_FILE; in demo and test --as ID.",
        )
    return read_key(environment, path)


def read_key(environment: Environment, path: Path) -> SigningKey:
    """The key in a file, asking for its passphrase. Raises Problem."""
    try:
        encrypted = key_file.is_encrypted(path)
    except key_file.KeyFileError as error:
        raise Problem(f"The key cannot be used: {error}", do="`npp keys new` makes one.") from error
    if not encrypted and environment.settings.profile is Profile.PRODUCTION:
        raise usage(f"{path} has no passphrase.", do="`npp keys new` makes a key that has one.")
    return operators.key_of(path, passphrase(environment, again=False) if encrypted else None)


def passphrase(environment: Environment, *, again: bool) -> bytes:
    """From the configured file or a prompt; never from the command line."""
    path = environment.settings.operator_passphrase_file
    if path is not None:
        try:
            with path.open("rb") as file:
                return file.read(PASSPHRASE_BYTES_MAX).strip(b"\r\n")
        except OSError as error:
            raise Problem(f"The passphrase cannot be read: {error}") from error
    if not sys.stdin.isatty():
        raise usage(
            "The passphrase cannot be prompted for here.",
            do="NPP_OPERATOR_PASSPHRASE_FILE names a file that holds it.",
        )
    given: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=again, err=True)
    return given.encode()


def _made_for(folder: Path, operator: str) -> Path:
    for name in operators.PEOPLE:
        if same_person(name, operator):
            return folder / f"{name}.pem"
    raise Problem(
        f"{operator} has no key in {folder}.",
        do=f"One of {', '.join(operators.PEOPLE)}; or --key FILE.",
        code=ExitCode.USAGE,
    )
