"""Run as a file: ties this process to its parent's life, then becomes the given command.

`python leash.py PARENT_PID COMMAND...`. The kernel then sends SIGKILL when the parent ends, however
it ends. Linux only; elsewhere the command runs without a leash. Imports nothing else of ours.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the leash was on
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 — becoming the command is the purpose


if __name__ == "__main__":
    main()
