"""What all commands over the API share: their options, who signs in, and how answers are shown."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from app.cli.api_client import Api, Call, Reply, curl_of
from app.cli.output import console, print_json, time_of
from app.cli.words import moment
from app.config import settings
from app.config.settings import Environment, Profile
from app.exits import ExitCode, usage
from core.values import CURRENCY, Cents, format_amount
from engine.clock import SystemClock

PAYMENT_ID: Final = re.compile(r"pi_[a-z2-7]{26}")
AMOUNTS: Final = frozenset({"amount"})  # fields in cents
TIMES: Final = re.compile(r"(At|Since|Until|After|Time)$")

PaymentArgument = Annotated[str, typer.Argument(help="paymentIntentId, pi_…", show_default=False)]
ActAs = Annotated[
    str,
    typer.Option(
        "--as", help="Who acts: on Kafka, and in demo and test; for the API NPP_API_TOKEN says it."
    ),
]
Role = Annotated[list[str] | None, typer.Option("--role", help="With --as; may be repeated.")]
Why = Annotated[str, typer.Option("--reason", help="The reason, kept in the history.")]
Json = Annotated[bool, typer.Option("--json", help="The answer as one JSON document.")]
Curl = Annotated[bool, typer.Option("--curl", help="Print the matching curl line; make no call.")]
Kafka = Annotated[
    bool,
    typer.Option(
        "--kafka", help="Use Kafka instead of the API; the default if no API is configured."
    ),
]
Request = Annotated[bool, typer.Option("--request", help="Request, as the first person.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Confirm, as the second person.")]
Since = Annotated[
    str | None, typer.Option("--from", help="At or after: ISO 8601 with zone.", callback=moment)
]
Until = Annotated[
    str | None, typer.Option("--to", help="Before: ISO 8601 with zone.", callback=moment)
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="Entries at most.")]
Cursor = Annotated[str, typer.Option(help="`next` of the previous answer.")]
LIMIT: Final = 50
TOKEN_MINUTES: Final = 5  # of `--as`: one command's worth
ADMIN: Final = ("admin",)


def check_payment(payment: str) -> None:
    """Raises Problem for what can be no payment's id."""
    if not PAYMENT_ID.fullmatch(payment):
        raise usage(f"{payment} is no paymentIntentId.", do="It is pi_ and 26 characters a-z, 2-7.")


def query(**values: object) -> tuple[tuple[str, str], ...]:
    """Query parameters: what is None or empty is left out, names become camelCase."""
    found = []
    for name, value in values.items():
        if value is None or value == "":
            continue
        first, *rest = name.rstrip("_").split("_")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found.append((first + "".join(part.capitalize() for part in rest), text))
    return tuple(found)


def body(**values: object) -> dict[str, Any]:
    """A JSON body: what is None is left out, names become camelCase."""
    found = {}
    for name, value in values.items():
        if value is not None:
            first, *rest = name.split("_")
            found[first + "".join(part.capitalize() for part in rest)] = value
    return found


def token_of(environment: Environment, operator: str, roles: Sequence[str]) -> str:
    """The token to sign in with: of `operator` by the demo's local key, else the one that is set.

    Raises Problem for `--as` under the production profile.
    """
    if operator:
        if environment.settings.profile is Profile.PRODUCTION:
            raise usage(
                "--as is refused through the API under the production profile.",
                do="Leave it out: NPP_API_TOKEN says who acts. With --kafka it is required.",
            )
        from api.auth.local import LocalIssuer

        issuer = LocalIssuer(environment.settings.data_dir, SystemClock())
        try:
            return issuer.issue(operator, roles, minutes=TOKEN_MINUTES)
        except ValueError as error:
            raise usage(f"--role: {error}.") from error
    token = environment.settings.api_token
    return token.get_secret_value() if token is not None else ""


def open_api(operator: str = "", roles: Sequence[str] = ()) -> Api:
    """The API of the settings, signed in. Raises Problem."""
    environment = settings.load()
    if not environment.settings.api_url:
        return Api("", "")
    return Api(environment.settings.api_url, token_of(environment, operator, roles))


def print_curl(call: Call, output: str = "", data: str = "") -> None:
    """The curl line, with the address of the settings, or $NPP_API_URL when none is set; `output`
    is the file that the answer goes to, `data` a further argument, unchanged.
    """
    url = settings.load().settings.api_url or "$NPP_API_URL"
    words = [curl_of(url, call), data, f"-o {shlex.quote(output)}" if output else ""]
    sys.stdout.write(" ".join(word for word in words if word) + "\n")


def fetch(call: Call, *, json: bool, curl: bool) -> Reply | None:
    """Ask; with --curl or --json print that, and return None. Raises Problem."""
    if curl:
        print_curl(call)
        return None
    with open_api() as api:
        reply = api.ask(call)
    if json:
        print_json(reply.body)
        return None
    return reply


def without_api(kafka: bool, curl: bool) -> bool:
    """Whether a command that knows both ways goes to Kafka itself. Raises Problem."""
    if kafka and curl:
        raise usage("--curl prints an API call, and --kafka does not use the API.")
    return kafka or not (curl or settings.load().settings.api_url)


def require_actor(operator: str) -> None:
    """On Kafka there is no sign-in: the command must say who acts. Raises Problem."""
    if not operator:
        raise usage(
            "Without the API, --as must say who acts.",
            do="--as ID, or NPP_API_URL and NPP_API_TOKEN for the API.",
        )


def require_one(request: bool, confirm: bool, which: str = "") -> None:
    """A command of two people is either the first one's or the second one's. Raises Problem."""
    if request == confirm:
        raise usage(
            f"Say --request (first person) or --confirm{which and f' {which}'} (second person)."
        )


def ask_as_admin(
    path: str,
    requested: dict[str, Any] | None,
    operator: str,
    role: list[str] | None,
    *,
    curl: bool,
) -> dict[str, Any] | None:
    """Ask for what only an admin may; None when --curl has printed it. Raises Problem."""
    call = Call("POST", path, body=requested)
    if curl:
        print_curl(call)
        return None
    with open_api(operator, tuple(role or ADMIN)) as api:
        return dict(api.ask(call).body)


def outcome_of(call: Call, operator: str = "", roles: Sequence[str] = ()) -> dict[str, Any]:
    """A command through the API, followed to its outcome. Raises Problem."""
    with open_api(operator, roles) as api:
        return dict(api.command(call, progress).body)


def answer(found: dict[str, Any], json: bool, *sentences: str) -> None:
    """What was done: one JSON document, or these sentences."""
    if json:
        print_json(found)
        return
    for each in sentences:
        console().print(each)


def progress(sentence: str) -> None:
    """On standard error, if it is a terminal."""
    if sys.stderr.isatty() or os.environ.get("NPP_TEST_PROGRESS"):
        sys.stderr.write(f"{sentence}\n")


def list_of(call: Call, columns: Iterable[str], *, json: bool, curl: bool) -> None:
    """Ask for `{items, next}` and show it. Raises Problem."""
    reply = fetch(call, json=json, curl=curl)
    if reply is not None:
        show_list(reply, columns)


def show_list(reply: Reply, columns: Iterable[str]) -> None:
    """`{items, next}` as a table of these fields; a dotted name goes into an object."""
    names = list(columns)
    table = Table(*(name.rpartition(".")[2] for name in names), box=None)
    items = reply.body["items"]
    for item in items:
        table.add_row(*(cell(item, name) for name in names))
    console().print(table)
    if not items:
        console().print("nothing")
    if reply.body.get("next"):
        console().print(f"… more: --cursor {reply.body['next']}")


def show_fields(value: dict[str, Any], names: Iterable[str]) -> None:
    """The fields that are there, one per line."""
    table = Table(box=None, show_header=False)
    for name in names:
        text = cell(value, name)
        if text:
            table.add_row(name, text)
    console().print(table)


def show_verdicts(fitting: Iterable[dict[str, Any]]) -> None:
    """The verdicts that fit a conflict, each with its consequence, one per line."""
    for each in fitting:
        console().print(f"  {each['verdict']:<18} {each['consequence']}")


def cell(item: Any, name: str) -> str:
    """One field for people; "" when it is not there."""
    currency = item.get("currency") if isinstance(item, dict) else None
    for part in name.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    if item is None:
        return ""
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int) and TIMES.search(name):
        return time_of(item)
    if isinstance(item, int) and name in AMOUNTS:
        return format_amount(Cents(item), currency or CURRENCY)
    if isinstance(item, list):
        return ", ".join(str(each) for each in item)
    return str(item)


def outcome_exit(value: dict[str, Any]) -> ExitCode:
    """0 if it was done, now or before; 1 otherwise."""
    if value.get("code") == "PAYMENT_NOT_FOUND":
        return ExitCode.NOT_FOUND
    done = value.get("result") in ("ACCEPTED", "DUPLICATE")
    return ExitCode.OK if done else ExitCode.FAILED


def show_outcome(value: dict[str, Any], json: bool) -> None:
    """What happened to a command."""
    if json:
        print_json(value, indent=False)
        return
    refusal = " ".join(str(value[key]) for key in ("code", "rule") if value.get(key))
    out = console()
    out.print(f"{value.get('result')} {refusal}".rstrip())
    if value.get("sentence"):
        out.print(value["sentence"])
    if value.get("expected") or value.get("actual"):
        out.print(f"expected {value.get('expected')}, actual {value.get('actual')}")
    if value.get("state"):
        out.print(
            f"state {value['state']}, money {value.get('moneyOutcome')}, "
            f"events {value.get('fromSequence')}..{value.get('toSequence')}"
        )
