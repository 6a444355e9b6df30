"""`npp keys`: a person's own key, with which control acts are signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.api_options import Json, answer
from app.cli.signing import passphrase, read_key
from app.config import settings
from app.control import operators
from app.exits import Problem, usage
from control.acts import key_file
from control.acts.key_file import PASSPHRASE_BYTES_MIN, SigningKey

app = typer.Typer(help="Keys with which people sign control acts.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The key's file; only its owner may read it.")]


@app.command()
def new(
    file: File,
    process: Annotated[
        bool, typer.Option("--process", help="For a process that signs: without a passphrase.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key, with a passphrase from a prompt (or NPP_OPERATOR_PASSPHRASE_FILE)."""
    environment = settings.load()
    secret = None if process else passphrase(environment, again=True)
    if secret is not None and len(secret) < PASSPHRASE_BYTES_MIN:
        raise usage(f"The passphrase has fewer than {PASSPHRASE_BYTES_MIN} characters.")
    key = key_file.new()
    try:
        key.write(file, secret)
    except OSError as error:
        raise Problem(
            f"{file} is not written: {error.strerror}", do="Nothing is replaced."
        ) from error
    _show(key, json)


@app.command()
def show(file: File, json: Json = False) -> None:
    """Show a key's public half and its id, as the operators file lists it."""
    environment = settings.load()
    try:
        encrypted = key_file.is_encrypted(file)
    except key_file.KeyFileError as error:
        raise Problem(str(error)) from error
    key = read_key(environment, file) if encrypted else operators.key_of(file, None)
    _show(key, json)


def _show(key: SigningKey, json: bool) -> None:
    public = key.public.hex()
    answer(
        {"keyId": key.key_id, "publicKey": public},
        json,
        f"key {key.key_id}",
        f"in the operators file: publicKeys: [{public}]",
    )
