"""ASCII means ASCII: no digits of other scripts, no look-alike letters."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from app.cli.words import cents
from app.exits import Problem
from core.values import ascii_digits
from tests.rooms import ROOMS, ROOT, sources

UNICODE_TESTS = {"isdigit", "isdecimal", "isnumeric", "isalnum", "isalpha"}
UNICODE_CLASSES = (r"\d", r"\w", r"\s", r"\b", r"\D", r"\W", r"\S", r"\B")
OTHER_DIGITS = ("²", "٣", "３", "1²", "1_0", "+1", " 1", "1\n", "", "-1", "1.0", "0x1", "½")


@pytest.mark.parametrize("text", OTHER_DIGITS)
def test_only_the_digits_0_to_9_are_digits(text: str) -> None:
    """Other digits are accepted by `isdigit` or int()."""
    assert not ascii_digits(text)


def test_plain_digits_are_digits() -> None:
    assert all(ascii_digits(text) for text in ("0", "007", "1234567890"))


@pytest.mark.parametrize(
    "text", ["٣.٠٠", "１２.50", "1_000", "1e3", "+1", " 1", "12.345", ".5", ""]
)
def test_an_amount_on_the_command_line_is_plain_digits(text: str) -> None:
    """Decimal accepts the digits of every script."""
    with pytest.raises(Problem):
        cents(text)


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
    """Every call with its enclosing nodes, the innermost last."""
    stack: list[tuple[ast.AST, list[ast.AST]]] = [(tree, [])]
    while stack:
        node, around = stack.pop()
        if isinstance(node, ast.Call):
            yield node, around
        stack += [(child, [*around, node]) for child in ast.iter_child_nodes(node)]


def _asks_for_ascii(subject: str, around: list[ast.AST]) -> bool:
    """Whether the same expression also checks that the same text is ASCII."""
    for node in around:
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            requested = [ast.unparse(each) for each in node.values]
            if f"{subject}.isascii()" in requested:
                return True
    return False


def _of_every_script(source: str) -> Iterator[str]:
    """Lines of `source` that check for digits or letters of any script."""
    if not any(each in source for each in (*UNICODE_TESTS, *UNICODE_CLASSES)):
        return  # parsing every file takes seconds
    for call, around in _calls(ast.parse(source)):
        function = call.func
        if (
            isinstance(function, ast.Attribute)
            and function.attr in UNICODE_TESTS
            and not _asks_for_ascii(ast.unparse(function.value), around)
        ):
            yield f"{call.lineno}: {ast.unparse(call)}"
        yield from _patterns_of_every_script(call)


def _patterns_of_every_script(call: ast.Call) -> Iterator[str]:
    """Patterns with a Unicode class: of `re` without re.ASCII, and of pydantic."""
    given = [(None, each) for each in call.args] + [(k.arg, k.value) for k in call.keywords]
    of_re = ast.unparse(call.func).startswith("re.")
    if of_re and any("re.ASCII" in ast.unparse(each) for _, each in given):
        return
    for name, value in given:
        if not of_re and name not in ("pattern", "regex"):
            continue
        for each in ast.walk(value):
            text = each.value if isinstance(each, ast.Constant) else None
            if isinstance(text, str) and any(kind in text for kind in UNICODE_CLASSES):
                yield f"{call.lineno}: {text}"


def test_no_product_code_accepts_digits_or_letters_of_other_scripts() -> None:
    """`.isdigit()` without `.isascii()`, `\\d` without re.ASCII."""
    paths = list(sources(*ROOMS, "examples"))
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        for line in _of_every_script(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "finds"),
    [
        ("x.isdigit()", True),
        ("x.isascii() or x.isdigit()", True),
        ("y.isascii() and x.isdigit()", True),
        ("x[2:].isalnum()", True),
        ("re.compile('[a-z]\\\\d')", True),
        ("Path(pattern='^\\\\d$')", True),
        ("x.isascii() and x.isdigit()", False),
        ("0 < len(x) and x.isascii() and x.isdigit()", False),
        ("re.compile('\\\\d', re.ASCII)", False),
        ("re.compile('[0-9]')", False),
    ],
)
def test_the_check_finds_violations_and_accepts_correct_code(source: str, finds: bool) -> None:
    """The check itself is tested."""
    assert bool(list(_of_every_script(source))) == finds
