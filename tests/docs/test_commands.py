"""Every `npp …` and `make …` of README and docs can be pasted: commands and options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from app.cli.npp import parser
from app.config.settings import Settings
from core import refusals
from native import wheel_hook
from tests.rooms import ROOT

TOP: Final = ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG")
PAGES: Final = (
    *(ROOT / f"{name}.md" for name in TOP),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "README.md",
)
COMPOSE_ENV: Final = ROOT / "deploy" / "compose.env.example"
VALUES: Final = {"payment": "pi_pdkz22ub6ujnprx6nas575vbxy", "me": "ann"}
TREE: Final[Any] = parser()


def shell_lines(text: str) -> Iterator[str]:
    """Single commands of the `sh` examples, without comments and with continuation lines joined."""
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.split(r"&&|;|\|", _without_comment(line))


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line)


def inline_commands(text: str) -> Iterator[str]:
    """`npp …` in running text; it may omit arguments."""
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.S)
    yield from (each for each in re.findall(r"`(npp [^`]+)`", without_blocks))


def words_of(line: str) -> list[str]:
    for name, value in VALUES.items():
        line = line.replace(f"${name}", value)
    words = shlex.split(line)
    return words[: words.index(">")] if ">" in words else words


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and the remaining words. Raises KeyError if
    there is none.
    """
    command, rest = TREE, words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0] == "--help":
            return command, rest
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def pages_with(commands: Any, start: str) -> list[Any]:
    lines = [(path, line.strip()) for path in PAGES for line in commands(path.read_text("utf-8"))]
    return [
        pytest.param(line, id=f"{path.name}: {line[:70]}")
        for path, line in lines
        if line.startswith(start)
    ]


@pytest.mark.parametrize("line", pages_with(shell_lines, "npp "))
def test_an_example_parses(line: str) -> None:
    """DEP-08: the words parse with the command line's own parser; nothing is run."""
    command, rest = find(words_of(line))
    if "--help" in rest:
        return
    assert not hasattr(command, "commands"), f"{line}: a group, not a command"
    with command.make_context("npp", [*rest]) as context:
        assert context.params is not None


@pytest.mark.parametrize("text", pages_with(inline_commands, "npp "))
def test_a_command_in_running_text_exists(text: str) -> None:
    """DEP-08: each spelling, where several are named (`npp topics plan|apply`)."""
    for spelling in spellings(text):
        command, rest = find(spelling.split())
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        used = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert used <= known | {"--help"}, f"{text}: {sorted(used - known)}"


SAID: Final = re.compile(r"(?<![.\w])npp ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
PRODUCT: Final = ("core", "schemas", "engine", "gateways", "readmodel", "control", "evidence")
SPEAKING: Final = (*PRODUCT, "processors", "api", "app", "deploy", "examples", "bench")


def said_in_code() -> Iterator[tuple[str, str, str]]:
    """Where it is mentioned, and the first two words after `npp`."""
    files = [ROOT / "topics.yaml", ROOT / "Makefile"]
    files += [file for room in SPEAKING for file in sorted((ROOT / room).rglob("*.*"))]
    for file in files:
        if file.suffix in (".py", ".yaml", ".yml", ".sql", ".md", "") and file.is_file():
            for first, second in SAID.findall(file.read_text(encoding="utf-8")):
                yield str(file.relative_to(ROOT)), first, second


def test_a_command_mentioned_in_the_code_exists() -> None:
    """DEP-08: hints, errors, comments: `npp control resume` in a message can be typed."""
    said = list(said_in_code())
    assert len(said) > 60, "a guard against a pattern that finds nothing"
    for place, first, second in said:
        assert first in TREE.commands, f"{place}: npp {first}"
        command = TREE.commands[first]
        if second and hasattr(command, "commands"):
            assert second in command.commands, f"{place}: npp {first} {second}"


def spellings(text: str) -> list[str]:
    """`npp a b|c` and `npp a | b` are two commands each."""
    text = re.sub(r"\s*\|\s*", "|", text.replace("…", "").replace("[", " ").replace("]", " "))
    words = text.split()
    for index, word in enumerate(words):
        if "|" in word and not word.startswith("-"):
            head, tail = words[:index], words[index + 1 :]
            return [" ".join([*head, each, *tail]) for each in word.split("|")]
    return [text]


@pytest.mark.parametrize("line", pages_with(shell_lines, "make "))
def test_a_make_target_exists(line: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert line.split()[1] in targets


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_variable_named_exists(path: Path) -> None:
    known = {f"NPP_{name.upper()}" for name in Settings.model_fields}
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"\bNPP_[A-Z_]+[A-Z]\b", text))
    others = {each for each in named if each.startswith(("NPP_TEST", "NPP_KAFKA"))}
    others |= {rule.name for rule in refusals.RULES} | {wheel_hook.VARIABLE}
    others |= set(re.findall(r"^(NPP_[A-Z_]+)=", COMPOSE_ENV.read_text(), re.MULTILINE))
    assert named - others <= known, sorted(named - known)


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^a-z0-9 _-]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_has_an_existing_target(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    for target, anchor in links:
        if "://" in target:
            continue
        page = path.parent / target if target else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), f"{target}#{anchor}"


PATH_IN_TEXT: Final = re.compile(
    r"`((?:core|schemas|engine|gateways|readmodel|control|evidence|processors|api|web|app|bench|deploy"
    r"|native|tests|examples|docs)/[\w./-]+)`"
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_path_named_exists(path: Path) -> None:
    named = set(PATH_IN_TEXT.findall(path.read_text(encoding="utf-8")))
    assert sorted(each for each in named if not (ROOT / each).exists()) == []


def test_there_are_many_examples() -> None:
    """A guard against a pattern that finds nothing."""
    assert len(pages_with(shell_lines, "npp ")) > 40
