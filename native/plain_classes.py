"""Rewrites some of a module's structs as plain final classes, which mypyc makes native.

mypyc compiles an explicit constructor and typed attributes; what a decorator or a metaclass makes
at run time stays interpreted. The structs themselves stay importable as `<module>_structs`, the
module's text as it is: schemas, hints and msgspec's readers are made from those. The classes that
are not rewritten are taken from there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Final

from native import packed_source

STRUCTS: Final = "_structs"
HEAD: Final = "from __future__ import annotations\n"
IMPORTS: Final = (
    "from typing import Any, ClassVar, final\n\nfrom mypy_extensions import mypyc_attr\n\n"
    "from core.declared import shown\n"
)
MUTABLE: Final = ("[]", "{}")
Structs = Mapping[str, tuple[str, ast.ClassDef]]
"""Module and class by name."""


def structs_of(module: str, text: str) -> Structs:
    """The classes of a module, by name."""
    classes = [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]
    return {each.name: (module, each) for each in classes}


def rewritten(module: str, text: str, hot: Iterable[str], others: Structs) -> str:
    """The text of `module` with the structs named in `hot` as plain classes; `others` are classes
    of other modules, which may be bases. Raises ValueError when one is not there.
    """
    tree, lines = ast.parse(text), text.splitlines(keepends=True)
    known = {**others, **structs_of(module, text)}
    structs = {
        name: node
        for name, (where, node) in known.items()
        if where == module and _is_struct(node, known)
    }
    wanted = set(hot)
    if missing := wanted - structs.keys():
        raise ValueError(f"{module} has no struct {', '.join(sorted(missing))}")
    imports: set[str] = set()
    if any(_is_packed(structs[name]) for name in wanted):
        imports.update(packed_source.IMPORTS)
    stars = [each for each in tree.body if isinstance(each, ast.ImportFrom) and _is_star(each)]
    edits: list[tuple[ast.stmt, str]] = [(each, _named(each, known)) for each in stars]
    for name, node in structs.items():
        if name in wanted:
            edits.append((node, _plain(node, lines, f"{module}{STRUCTS}", wanted, known)))
            imports |= _inherited_imports(module, node, known)
        else:
            edits.append((node, f"from {module}{STRUCTS} import {name} as {name}\n"))
    for statement, made in sorted(edits, key=lambda edit: -edit[0].lineno):
        lines[statement.lineno - 1 : statement.end_lineno] = [made]
    head = HEAD + IMPORTS + "".join(f"{each}\n" for each in sorted(imports))
    return "".join(lines).replace(HEAD, head, 1)


def _is_star(node: ast.ImportFrom) -> bool:
    return node.names[0].name == "*"


def _named(node: ast.ImportFrom, known: Structs) -> str:
    """`import *` with explicit names: mypyc does not re-export names that are not listed."""
    names = [f"{name} as {name}" for name, (module, _) in known.items() if module == node.module]
    return f"from {node.module} import {', '.join(names)}\n"


def _is_struct(node: ast.ClassDef, known: Structs) -> bool:
    bases = [ast.unparse(base) for base in node.bases]
    return any(
        base == "msgspec.Struct" or (base in known and _is_struct(known[base][1], known))
        for base in bases
    )


def _lineage(node: ast.ClassDef, known: Structs) -> list[tuple[str, ast.ClassDef]]:
    """The bases that are known, the most distant first."""
    found = []
    for base in node.bases:
        if ast.unparse(base) in known:
            module, above = known[ast.unparse(base)]
            found += [*_lineage(above, known), (module, above)]
    return found


def _inherited_imports(module: str, node: ast.ClassDef, known: Structs) -> set[str]:
    """Imports of the types that inherited fields name."""
    return {
        f"from {where} import {name.id}"
        for where, above in _lineage(node, known)
        if where != module
        for field in _own_fields(above)
        for name in ast.walk(field.annotation)
        if isinstance(name, ast.Name) and name.id in known
    }


def _own_fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [each for each in node.body if isinstance(each, ast.AnnAssign)]


def _plain(
    node: ast.ClassDef, lines: list[str], declared_in: str, hot: set[str], known: Structs
) -> str:
    above = [each for _, each in _lineage(node, known)]
    options = {
        word.arg: ast.unparse(word.value) == "True"
        for each in [*above, node]
        for word in each.keywords
    }
    fields = [field for each in [*above, node] for field in _own_fields(each)]
    names = [ast.unparse(each.target) for each in fields]
    out = ["@final", "@mypyc_attr(acyclic=True)", f"class {node.name}:"]
    out.append(f'    DECLARED_IN: ClassVar[str] = "{declared_in}"')
    out.append(f"    __struct_fields__: ClassVar[tuple[str, ...]] = {tuple(names)!r}")
    parameters = ["*"] if options.get("kw_only") and fields else []
    body = []
    for name, each in zip(names, fields, strict=True):
        hint = ast.unparse(each.annotation)
        default = None if each.value is None else ast.unparse(each.value)
        if default in MUTABLE:
            parameters.append(f"{name}: {hint} | None = None")
            body.append(f"        self.{name}: {hint} = {default} if {name} is None else {name}")
        else:
            parameters.append(f"{name}: {hint}" + ("" if default is None else f" = {default}"))
            body.append(f"        self.{name}: {hint} = {name}")
    out += [f"    def __init__({', '.join(['self', *parameters])}) -> None:", *body]
    values = ", ".join(f"self.{name}" for name in names)
    out += ["    def values(self) -> tuple[Any, ...]:", f"        return ({values},)"]
    out += [
        "    def __eq__(self, other: object) -> bool:",
        f"        return isinstance(other, {node.name}) and self.values() == other.values()",
        "    def __repr__(self) -> str:",
        "        return shown(self)",
    ]
    if options.get("frozen"):
        out += ["    def __hash__(self) -> int:", "        return hash(self.values())"]
    if _is_packed(node):
        out += _packed(node.name, fields, hot)
        struct = getattr(import_module(declared_in.removesuffix(STRUCTS)), node.name)
        out += packed_source.methods(struct, fields)
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            first = min([method.lineno, *(each.lineno for each in method.decorator_list)])
            out.append("".join(lines[first - 1 : method.end_lineno]).rstrip("\n"))
    return "\n".join(out) + "\n"


def _is_packed(node: ast.ClassDef) -> bool:
    return [ast.unparse(base) for base in node.bases] == ["Packed"]


def _packed(name: str, fields: list[ast.AnnAssign], hot: set[str]) -> list[str]:
    """Copying, and reading from the struct that msgspec has unpacked."""
    copied, read = [], []
    for each in fields:
        field, hint = ast.unparse(each.target), ast.unparse(each.annotation)
        copied.append(f"{field}=self.{field}")
        item = hint.removeprefix("list[").removesuffix("]")
        items = f"[{item}.read(each) for each in struct.{field}]"
        read.append(f"{field}={items if item in hot else f'struct.{field}'}")
    return [
        f"    def __copy__(self) -> {name}:",
        f"        return {name}({', '.join(copied)})",
        "    @staticmethod",
        f"    def read(struct: Any) -> {name}:",
        f"        return {name}({', '.join(read)})",
    ]
