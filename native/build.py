"""`make native`: build/native, a copy of the product whose hot path is compiled.

It is a whole tree: with it as PYTHONPATH every process and test runs the compiled build.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from native.new_types import as_casts, names_in
from native.plain_classes import STRUCTS, rewritten, structs_of

ROOT: Final = Path(__file__).resolve().parent.parent
BUILT: Final = ROOT / "build" / "native"
ROOMS: Final = (
    "core", "schemas", "engine", "gateways", "readmodel", "control", "evidence", "processors",
    "api", "web", "app", "bench",
)  # fmt: skip
# The structs that a payment's happy path and its replay create become native classes. The others
# stay structs, and are as fast as before.
HOT: Final = {
    "core/values.py": ("Sealed", "Party", "Parties"),
    "core/header.py": ("InputHeader", "Cause", "Actor", "EventHeader", "InstructionHeader"),
    "core/decider.py": ("Context", "Accepted", "Duplicate", "NoEffect"),
    "core/records.py": ("PaymentLifecycle",),
    "core/payment/commands.py": (
        "CreatePayment", "AssignedFrom", "RailReport", "DepositsResult", "PolicyVerdict",
    ),
    "core/payment/events.py": (
        "PaymentIntentCreated", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail",
        "PaymentAcknowledged", "PaymentSettled", "PolicyChecked",
    ),
    "core/payment/events_funds.py": ("FundsRequested", "FundsHeld", "FundsCaptured"),
    "core/payment/instructions.py": ("RailInstruction", "DepositsRequest", "PolicyCheckRequest"),
    "core/payment/limits.py": ("_Quick",),
    "core/payment/state.py": (
        "FundsRequestStatus", "SeenReport", "Attempt", "Approval", "Conflict", "Notification",
        "Payment",
    ),
    "control/named.py": (),
    "engine/ports.py": ("InputRecord",),
    "engine/records.py": ("LogRecord",),
    "evidence/chain.py": ("Head", "Link"),
    "evidence/checkpoints.py": (),
    "evidence/merkle.py": (),
    "evidence/redecide.py": ("Input", "Environment"),
    "processors/payments/packing.py": ("Known",),
    "processors/projector/events.py": (),
    "processors/projector/rows.py": ("JournalEvent", "ProjectedPayment"),
    "processors/replay/fold.py": ("Folded",),
    "processors/replay/money/books.py": ("Request", "Account"),
    "processors/replay/prove.py": (),
    "processors/replay/redecide.py": ("Decided",),
    "schemas/codec/__init__.py": ("TopicCodec",),
}  # fmt: skip
CODEC: Final = (
    "CreatePayment", "RailReport", "DepositsResult", "PolicyVerdict", "PaymentIntentCreated",
    "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail", "PaymentAcknowledged",
    "PaymentSettled", "FundsRequested", "FundsHeld", "FundsCaptured", "PolicyChecked",
    "RailInstruction", "DepositsRequest", "PolicyCheckRequest", "PaymentLifecycle", "Parties",
)  # fmt: skip
# Beside the modules of HOT.
COMPILED: Final = (
    "core/declared.py",
    "core/native_msgpack.py",
    "core/transitions.py",
    "core/payment/deadlines.py",
    "core/payment/decide.py",
    "core/payment/draft.py",
    "core/payment/evolve/__init__.py",
    "core/payment/evolve/funds.py",
    "core/payment/evolve/lifecycle.py",
    "core/payment/evolve/nonlifecycle.py",
    "core/payment/flow/__init__.py",
    "core/payment/flow/funds.py",
    "core/payment/flow/instruct.py",
    "core/payment/funds.py",
    "core/payment/inputs/deposits.py",
    "core/payment/inputs/deposits_effects.py",
    "core/payment/inputs/policy.py",
    "core/payment/inputs/rail.py",
    "core/payment/inputs/rail_effects.py",
    "core/payment/inputs/rail_known.py",
    "core/payment/inputs/upstream.py",
    "core/payment/keys.py",
    "core/payment/lifecycle_record.py",
    "core/payment/operator/checks.py",
    "core/payment/report_table.py",
    "engine/clients/producing.py",
    "engine/loop/batch.py",
    "engine/loop/timers.py",
    "engine/partitioner.py",
    "engine/store/states.py",
    "engine/store/store.py",
    "processors/payments/handler.py",
    "processors/payments/metrics.py",
    "processors/projector/batch.py",
    "processors/replay/accounting.py",
    "processors/replay/accounts.py",
    "processors/replay/checkpointed.py",
    "processors/replay/identity.py",
    "processors/replay/money/checks.py",
    "processors/replay/parts/part.py",
    "schemas/codec/lifecycle_prefix.py",
    "schemas/codec/native_binary.py",
    "schemas/codec/native_codec.py",
)
OPTIONS: Final = "native/mypy.ini"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m native.build", description=__doc__)
    parser.add_argument("--into", type=Path, default=BUILT, help="the folder of the new tree")
    parser.add_argument("--untrained", action="store_true", help="compile once: half the time")
    options = parser.parse_args()
    into = options.into
    started = time.monotonic()
    tree(into)
    compile_in(into, [*HOT, *COMPILED], trained=not options.untrained)
    print(f"{into}: compiled in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


def tree(into: Path) -> None:
    """A copy of the product with the hot structs as plain classes, and their codec."""
    shutil.rmtree(into, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for room in (each for each in ROOMS if each != "bench" or (ROOT / each).is_dir()):
        # A distribution of the sources may lack the benches.
        shutil.copytree(ROOT / room, into / room, ignore=ignored)
    shutil.copy(ROOT / "topics.yaml", into)
    shutil.copytree(ROOT / "docs" / "runbook", into / "docs" / "runbook")
    shutil.copy(ROOT / "docs" / "runbook.md", into / "docs")
    (into / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "jars.lock", into / "requirements")
    (into / ".cache").symlink_to(ROOT / ".cache")  # the broker of demo and bench
    texts = {path: (into / path).read_text(encoding="utf-8") for path in HOT}
    known: dict[str, tuple[str, ast.ClassDef]] = {}
    for path, text in texts.items():
        known |= structs_of(module_of(path), text)
    for path, hot in HOT.items():
        file, text = into / path, texts[path]
        file.with_name(f"{file.stem}{STRUCTS}.py").write_text(text, encoding="utf-8")
        file.write_text(rewritten(module_of(path), text, hot, known), encoding="utf-8")
    new_types = names_in((ROOT / "core" / "values.py").read_text(encoding="utf-8"))
    for file in (into / path for path in (*HOT, *COMPILED) if (into / path).is_file()):
        file.write_text(as_casts(file.read_text(encoding="utf-8"), new_types), encoding="utf-8")
    shutil.copy(ROOT / "native" / "native_binary.py", into / "schemas" / "codec")
    shutil.copy(ROOT / "native" / "native_msgpack.py", into / "core")
    codec_source = importlib.import_module("native.codec_source")
    text = codec_source.source(CODEC)
    (into / "schemas" / "codec" / "native_codec.py").write_text(text, encoding="utf-8")


def module_of(path: str) -> str:
    """The name of the module in that file."""
    return path.removesuffix(".py").replace("/", ".")


def compile_in(folder: Path, paths: list[str], *, trained: bool = True) -> None:
    """Compile the modules beside their sources; `trained` by the benches, where they are. Raises
    CalledProcessError.
    """
    benches = all((ROOT / each).is_dir() for each in ("bench", "tests"))
    command = [
        *(sys.executable, str(ROOT / "native" / "compile.py")),
        *(["--trained"] if trained and benches else []),
        *(str(ROOT / OPTIONS), *paths),
    ]
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        env={**os.environ, "MYPYPATH": ".", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
    )
    shutil.rmtree(folder / "build")  # the C sources and objects


if __name__ == "__main__":
    sys.exit(main())
