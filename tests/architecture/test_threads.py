"""What several threads of a process may do at once right after its start."""

from __future__ import annotations

import ast
import subprocess
import sys

from tests.rooms import ROOT, sources

DECODERS = {"json", "msgpack", "yaml", "toml"}
READERS = {"Decoder", "decode", "convert"}
TIMES = 3
AT_ONCE = """
import sys, threading
from pathlib import Path
from core.rules import parse
sys.setswitchinterval(1e-6)
raw = Path(sys.argv[1]).read_bytes()
together = threading.Barrier(6)
def read():
    together.wait()
    parse(raw)
threads = [threading.Thread(target=read) for _ in range(6)]
for each in threads: each.start()
for each in threads: each.join()
"""
# Read by the thread that starts the process, or by the only one there is.
READ_AT_THE_START = {
    "gateways/resolve/policy.py", "gateways/deposits/simulator_ledger.py",
    "gateways/notifications/simulator.py", "gateways/rail/simulator_ledger.py",
    "app/cli/payment/publish.py", "schemas/catalogue.py", "app/cli/operators/top.py",
}  # fmt: skip


def test_the_workers_of_a_process_may_read_a_rule_set_at_the_same_moment() -> None:
    """msgspec builds a type's tables at its first use, and crashes when two threads do so at once:
    the adapters, one thread each, ended by SIGSEGV at one start in thirty."""
    for _ in range(TIMES):
        file = ROOT / "core/rules/1.yaml"
        done = subprocess.run([sys.executable, "-c", AT_ONCE, str(file)], cwd=ROOT, check=False)
        assert done.returncode == 0


def lazily_typed(tree: ast.Module) -> list[str]:
    """Types whose tables a call would build, `decode(..., type=T)` and `convert(..., T)`, but those
    that a decoder of the module has prepared."""
    prepared: set[str] = set()
    found: list[str] = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in READERS):
            continue
        name = ast.unparse(call.func).split(".")
        if name[0] != "msgspec":
            continue
        if name[-1] == "Decoder" and call.args:
            prepared.add(ast.unparse(call.args[0]))
        elif name[-1] == "decode" and name[1] in DECODERS:
            found += [ast.unparse(k.value) for k in call.keywords if k.arg == "type"]
        elif name[-1] == "convert":
            found += [ast.unparse(each) for each in call.args[1:]]
    return [each for each in found if each not in prepared and not each.startswith("list[")]


def test_no_type_is_prepared_for_decoding_by_the_thread_that_needs_it_first() -> None:
    """As above, for every room: a module-level decoder prepares the type at import."""
    texts = {file: file.read_text(encoding="utf-8") for file in sources()}
    lazy = {
        str(file.relative_to(ROOT)): types
        for file, text in texts.items()
        if "msgspec" in text and (types := lazily_typed(ast.parse(text)))
    }
    assert set(lazy) == READ_AT_THE_START, lazy
