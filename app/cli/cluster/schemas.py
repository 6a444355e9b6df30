"""`npp schemas register|check`: the Avro schemas and the registry."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api_options import Json, answer
from app.cluster import open_registry_codec
from app.config import settings
from app.exits import Problem
from schemas import catalogue, definitions
from schemas.registry import compatibility

app = typer.Typer(help="The Avro schemas and the schema registry.", no_args_is_help=True)


@app.command()
def register(json: Json = False) -> None:
    """Register every schema in the fixed order, and pin the ids in ids.lock.

    May be repeated. Stops when the registry gives other ids than ids.lock: ids are in bytes that
    are hashed forever.
    """
    environment = settings.load()
    open_registry_codec(environment, may_register=True)
    count, lock = _count(), environment.ids_lock()
    answer(
        {"subjects": count, "idsLock": str(lock)},
        json,
        f"{count} subjects are registered; ids pinned in {lock}",
    )


@app.command()
def check(
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Against released versions only, without the registry."),
    ] = False,
    json: Json = False,
) -> None:
    """Check the schemas against every released version, and the registry's ids against ids.lock."""
    problems = catalogue_problems()
    if problems:
        raise Problem(
            "Schemas are not compatible:\n" + "\n".join(f"  {each}" for each in problems),
            means="Records already written could not be read, or deployed readers would fail.",
            do="Add fields with a default; never rename, remove or change the type of one.",
        )
    lines = ["every schema is compatible with every released version"]
    if not offline:
        open_registry_codec(settings.load())
        lines.append(f"{_count()} subjects are in the registry under the pinned ids")
    answer({"subjects": _count(), "registryChecked": not offline}, json, *lines)


def catalogue_problems() -> list[str]:
    """Sentences naming each incompatibility with a released version; empty when all is well."""
    found: list[str] = []
    for topic in catalogue.load().topics:
        for name in topic.record_names():
            assert topic.compatibility is not None
            newer, older = definitions.current(name), definitions.released(name)
            sentences = compatibility.problems(topic.compatibility, newer, older)
            found.extend(f"{topic.name} {name}: {sentence}" for sentence in sentences)
    return found


def _count() -> int:
    return sum(len(topic.record_names()) for topic in catalogue.load().topics)
