"""Gets Kafka, the schema registry and the pages' libraries: the Maven artifacts of
`requirements/jars.lock`, no others.

Pure Python (jgo), no `mvn` and no Java needed. Every file is checked against the lock's SHA-256
before it is used; a second run finds its stamp and costs milliseconds. Everything is under
`.cache/` beside the source (or `$NPP_CACHE_DIR`) and may be deleted at any time. `$NPP_MAVEN_URL`
names a mirror where Maven Central cannot be reached; the hashes hold for it too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine.clock import Clock, SystemClock

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "jars.lock"

DOWNLOAD_LANES = 4
DOWNLOAD_TRIES = 4
RETRY_WAIT_SECONDS = 2.0  # times the number of the try: 2 + 4 + 6 s at most per file
HTTP_TIMEOUT_SECONDS = 60
PROGRESS_EVERY_SECONDS = 2.0
HASH_CHUNK_BYTES = 1 << 20
WEBJARS = "org.webjars.npm"  # the group of the pages' libraries

Say = Callable[[str], None]


class FetchError(RuntimeError):
    """An artifact could not be fetched, or is not the one that was locked."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One line of the lock: Maven coordinates, SHA-256 in hex, size in bytes."""

    group: str
    name: str
    version: str
    kind: str
    classifier: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{tail}.{self.kind}"


@dataclass(frozen=True, slots=True)
class Platform:
    """Where the fetched things are: a folder of Kafka's jars, and the registry's folder."""

    kafka_libs: Path
    registry_home: Path


def parse_lock(text: str) -> list[Artifact]:
    """The artifacts of a lock; raises FetchError for a line that is not of its form."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            coordinates, sha, size = line.split()
            group, name, version, kind, classifier = coordinates.split(":")
            sha256 = sha.removeprefix("sha256=")
            size_bytes = int(size.removeprefix("size="))
        except ValueError as error:
            raise FetchError(f"jars.lock line {number} is malformed: {line!r}") from error
        found.append(Artifact(group, name, version, kind, classifier, sha256, size_bytes))
    return found


def cache_dir() -> Path:
    """`$NPP_CACHE_DIR`, else `.cache` beside the source."""
    return Path(os.environ.get("NPP_CACHE_DIR") or ROOT / ".cache").absolute()


def matches(file: Path, artifact: Artifact) -> bool:
    """Whether the file is, byte for byte, what the lock names."""
    if not file.is_file() or file.stat().st_size != artifact.size:
        return False
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == artifact.sha256


class _Progress:
    """Counts downloaded bytes over all downloads and prints progress from time to time."""

    def __init__(self, total_bytes: int, say: Say, clock: Clock) -> None:
        self._total, self._say, self.clock = total_bytes, say, clock
        self._done, self._said_at = 0, clock.monotonic_s()
        self._guard = threading.Lock()

    def add(self, count: int) -> None:
        with self._guard:
            self._done += count
            now = self.clock.monotonic_s()
            if now - self._said_at < PROGRESS_EVERY_SECONDS:
                return
            self._said_at = now
            done = min(self._done, self._total)
        self._say(f"  {done / 1e6:.0f} of {self._total / 1e6:.0f} MB")

    @contextlib.contextmanager
    def of_file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield self.add


def _download(artifact: Artifact, repository: Path, progress: _Progress) -> Path:
    """One artifact into the local repository, verified; bounded retries, then FetchError."""
    from jgo.maven import MavenContext, PythonResolver

    mirror = os.environ.get("NPP_MAVEN_URL")
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress.of_file),
        repo_cache=repository,
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        timeout=HTTP_TIMEOUT_SECONDS,
    )
    handle = (
        context.project(artifact.group, artifact.name)
        .at_version(artifact.version)
        .artifact(classifier=artifact.classifier, packaging=artifact.kind)
    )
    reason: object = None
    for attempt in range(1, DOWNLOAD_TRIES + 1):
        try:
            file = Path(handle.resolve())
        except (OSError, RuntimeError, AssertionError, ValueError) as error:
            reason = error
        else:
            if matches(file, artifact):
                return file
            reason = f"SHA-256 of {file.name} differs from requirements/jars.lock"
        if handle.cached_path is not None:  # cut off, now or in an earlier run, or a wrong one
            Path(handle.cached_path).unlink(missing_ok=True)
        if attempt < DOWNLOAD_TRIES:
            progress.clock.sleep(RETRY_WAIT_SECONDS * attempt)
    raise FetchError(
        f"{artifact.group}:{artifact.name}:{artifact.version}: not fetched in "
        f"{DOWNLOAD_TRIES} tries: {reason}"
    )


def _place(file: Path, folder: Path) -> None:
    target = folder / file.name
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(file, target)


def _unpack(archive: Path, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(partial)  # noqa: S202 — the archive's hash is locked
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def ensure_platform(say: Say = say_on_stderr) -> Platform:
    """Kafka's jars and the registry, fetched if they are not there yet.

    Safe to call from several processes at once: one fetches, the others wait. Raises FetchError.
    """
    home = _ensure("platform", "Kafka and the schema registry", servers(), _place_servers, say)
    return Platform(kafka_libs=home / "kafka", registry_home=home / "registry")


def ensure_web(say: Say = say_on_stderr) -> Path:
    """The folder of the pages' libraries, fetched if they are not there yet: `<name>/…` as each
    was published. Safe as `ensure_platform`. Raises FetchError.
    """
    return _ensure("web", "the pages' libraries", web_libraries(), _place_web, say)


def servers() -> list[Artifact]:
    """What Kafka and the registry are made of."""
    return [each for each in parse_lock(LOCK.read_text()) if each.group != WEBJARS]


def web_libraries() -> list[Artifact]:
    """What browsers load."""
    return [each for each in parse_lock(LOCK.read_text()) if each.group == WEBJARS]


Place = Callable[[Artifact, Path, Path], None]  # artifact, its file, the home folder


def _ensure(name: str, what: str, artifacts: list[Artifact], place: Place, say: Say) -> Path:
    """A folder with these artifacts placed in it; a stamp says that it is complete."""
    named = "".join(f"{each.filename} {each.sha256}\n" for each in artifacts)
    cache = cache_dir()
    home = cache / f"{name}-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
    stamp = home / "complete"
    if stamp.exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    with (cache / "fetch.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists():
            for artifact, file in _fetch_all(artifacts, what, cache / "maven", say):
                place(artifact, file, home)
            stamp.touch()
    return home


def _fetch_all(
    artifacts: list[Artifact], what: str, repository: Path, say: Say
) -> list[tuple[Artifact, Path]]:
    total = sum(artifact.size for artifact in artifacts)
    say(f"Fetching {what}: {len(artifacts)} files, {total / 1e6:.0f} MB")
    clock = SystemClock()
    started = clock.monotonic_s()
    progress = _Progress(total, say, clock)
    largest_first = sorted(artifacts, key=lambda artifact: -artifact.size)
    with ThreadPoolExecutor(DOWNLOAD_LANES) as lanes:
        files = list(lanes.map(lambda one: _download(one, repository, progress), largest_first))
    say(f"Fetched and verified in {clock.monotonic_s() - started:.1f} s")
    return list(zip(largest_first, files, strict=True))


def _place_servers(artifact: Artifact, file: Path, home: Path) -> None:
    if artifact.kind != "jar":
        _unpack(file, home / "registry")
        return
    (home / "kafka").mkdir(exist_ok=True)
    _place(file, home / "kafka")


def _place_web(artifact: Artifact, file: Path, home: Path) -> None:
    """A WebJar's content, without the folders that it is packed in."""
    prefix = f"META-INF/resources/webjars/{artifact.name}/{artifact.version}/"
    with zipfile.ZipFile(file) as jar:
        for member in jar.infolist():
            inside = member.filename.removeprefix(prefix)
            if member.is_dir() or inside == member.filename:
                continue
            target = home / artifact.name / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(jar.read(member))


def main() -> int:
    """`python -m app.platform.fetch`; exit 1 if something cannot be fetched. With `web`, only the
    pages' libraries.
    """
    try:
        ensure_web()
        if sys.argv[1:] != ["web"]:
            ensure_platform()
    except FetchError as error:
        say_on_stderr(f"fetch: {error}")
        say_on_stderr("fetch: is the network there? Maven Central must be reachable once.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
