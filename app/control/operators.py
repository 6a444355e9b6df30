"""The operators file of this process, and the people that demo and test create."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.config.settings import Environment, Profile
from app.exits import Problem, usage
from control.acts import key_file, operators_file
from control.acts.actors import REDRIVER
from control.acts.key_file import SigningKey
from control.acts.operators_file import Operators
from control.in_force import Deployed
from core.control_records import OperatorsActivated
from schemas.catalogue import TopicsFile

REPLAY: Final = "replay"  # the process that signs ProofPassed
FILE_MODE: Final = 0o644  # public keys: everybody reads it, its owner alone writes it
# Of demo and test; docs and tests name them.
PEOPLE: Final = (
    "ann", "bob", "sue", "ben", "alice", "ada", "adam", "adm_1", "adm_2", "demo-admin",
)  # fmt: skip


def read(path: Path) -> Operators:
    """The operators file. Raises Problem."""
    try:
        return operators_file.parse(path.read_bytes())
    except (OSError, operators_file.OperatorsFileError) as error:
        raise Problem(
            f"The operators file {path} cannot be used: {error}",
            means="No act could be verified.",
            do="deploy/operators.example.yaml shows one; `npp keys show` prints a person's line.",
        ) from error


def deployed(environment: Environment, topics: TopicsFile) -> Deployed:
    """What is deployed with this process, to be compared with the control topic. Raises Problem."""
    path = environment.operators_file()
    resets = filter(None, environment.settings.operators_reset.split(","))
    return Deployed(
        operators=None if path is None else read(path),
        resets=frozenset(bytes.fromhex(each.strip()) for each in resets),
        source_map=topics.source_map,
        sources=topics.source_topics(),
    )


def require(environment: Environment) -> Operators:
    """The operators file to put in force; demo and test make one if needed. Raises Problem."""
    path = environment.operators_file()
    if path is None and environment.settings.profile is Profile.PRODUCTION:
        raise usage(
            "No operators file is configured: NPP_OPERATORS_FILE is not set.",
            do="Write one (deploy/operators.example.yaml), with the public keys of two admins.",
        )
    if path is None:
        path = make_people(environment.operators_folder())
    return read(path)


def activation(file: Operators, now_ms: int, actor: str) -> OperatorsActivated:
    """The control record that puts the file in force."""
    return OperatorsActivated(
        number=file.number,
        sha256=file.sha256,
        content=file.content,
        activated_at=now_ms,
        actor=actor,
    )


def make_people(folder: Path) -> Path:
    """Keys without a passphrase for the people of demo and test, and their operators file."""
    lines = ["# Made for demo and test: keys without a passphrase are beside it.", "number: 1"]
    lines += [
        "persons:",
        *(
            f"  - {{id: {name}, roles: [admin], publicKeys: [{_key(folder, name)}]}}"
            for name in PEOPLE
        ),
        "processes:",
    ]
    lines += [
        f"  - {{id: {name}, publicKeys: [{_key(folder, name)}]}}" for name in (REPLAY, REDRIVER)
    ]
    path = folder / "operators.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(FILE_MODE)  # regardless of the umask
    return path


def _key(folder: Path, name: str) -> str:
    """The public key in hex; the file is made where there is none."""
    path = folder / f"{name}.pem"
    if not path.exists():
        key_file.new().write(path, None)
    return key_file.read(path, None).public.hex()


def key_of(path: Path, passphrase: bytes | None) -> SigningKey:
    """The key in a file. Raises Problem."""
    try:
        return key_file.read(path, passphrase)
    except key_file.KeyFileError as error:
        raise Problem(f"The key cannot be used: {error}", do="`npp keys new` makes one.") from error


def process_key(environment: Environment, name: str) -> SigningKey:
    """The key with which the process signs; in demo and test the one beside the operators file.
    Raises Problem.
    """
    path = environment.settings.process_key_file
    if path is None and environment.settings.profile is not Profile.PRODUCTION:
        path = environment.operators_folder() / f"{name}.pem"
    if path is None:
        raise usage(
            f"No key is set with which {name} signs its records: NPP_PROCESS_KEY_FILE.",
            do="`npp keys new --process FILE` makes a key; list it under `processes`.",
        )
    return key_of(path, None)
