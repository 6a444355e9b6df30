"""Records histories and proves them; README.md says when and how.

python -m tests.histories record demo|chaos [--data .npp]     from the demo that runs there
python -m tests.histories record model [--sequences 2000] [--seed 1]
python -m tests.histories check                               proves what is recorded
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.histories import kafka, model, proof
from tests.histories.file import SUFFIX, Recording, read, write

FOLDER: Final = Path(__file__).parent
FROM_KAFKA: Final = ("demo", "chaos")
NAMES: Final = (*FROM_KAFKA, "model")
SIZE_BYTES_MAX: Final = 4_000_000  # of one history: they are kept with the code forever
WORDS_MIN: Final = 5  # shorter names occur by chance


class Unfit(Exception):
    """A recording that must not be kept, and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 if everything recorded or read is proved, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.histories", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record", help="make a history again")
    recorder.add_argument("name", choices=NAMES)
    recorder.add_argument("--data", type=Path, default=Path(".npp"), help="the demo's folder")
    recorder.add_argument("--sequences", type=int, default=2_000)
    recorder.add_argument("--seed", type=int, default=1)
    recorder.add_argument("--to", type=Path, default=FOLDER, help="folder to write to")
    commands.add_parser("check", help="prove every history").add_argument(
        "--in", dest="folder", type=Path, default=FOLDER
    )
    given = parser.parse_args(arguments)
    try:
        if given.command == "check":
            return check(given.folder)
        made = (
            model.record(given.sequences, given.seed)
            if given.name == "model"
            else kafka.record(given.name, given.data, say)
        )
        keep(made, given.to)
    except (Unfit, kafka.NotQuiet) as error:
        say(str(error))
        return 1
    return 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def keep(made: Recording, folder: Path) -> Path:
    """Write a recording that passes its own proof; otherwise leave no file.

    Raises Unfit.
    """
    report = proof.prove(made)
    wrong = [*proof.problems(made, report), *named_here(made)]
    if wrong:
        raise Unfit("\n".join(["This history is not kept:", *(f"  {each}" for each in wrong[:20])]))
    counts = proof.counted(report)
    made = msgspec.structs.replace(made, expected=counts)
    path = folder / f"{made.name}{SUFFIX}"
    beside = path.with_suffix(".part")
    size = write(made, beside)
    if size > SIZE_BYTES_MAX:
        beside.unlink()
        raise Unfit(f"{path.name} has {size} bytes; at most {SIZE_BYTES_MAX} are kept")
    again = read(beside)
    if proof.problems(again, proof.prove(again)):
        raise Unfit(f"{path.name} is not proven any more when it is read again")
    os.replace(beside, path)
    counted = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"{path.name}: {size} bytes; {counted}")
    return path


def check(folder: Path) -> int:
    """Prove every history of a folder."""
    wrong = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        made = read(path)
        report = proof.prove(made)
        found = proof.problems(made, report)
        wrong += bool(found)
        say(f"{path.name}: {'FAILED' if found else 'proven'} in {report.seconds:.1f} s")
        for each in found:
            say(f"  {each}")
    return 1 if wrong else 0


def named_here(made: Recording) -> list[str]:
    """A history is published: it must not name the machine it was made on."""
    names = {socket.gethostname(), str(Path.cwd()), str(Path.home())}
    words = [each.encode() for each in names if len(each) >= WORDS_MIN]
    return [
        f"{column.topic}: a record names this machine ({word.decode()})"
        for column in made.columns
        for word in words
        if any(word in (value or b"") for value in column.values)
    ]


if __name__ == "__main__":
    sys.exit(main())
