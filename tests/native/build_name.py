"""Prints which build runs: `python -m tests.native.build_name`."""

from app.config.build import running

if __name__ == "__main__":
    print(running())
