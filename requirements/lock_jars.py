"""Write requirements/jars.lock: which Maven artifacts the embedded Kafka, the registry and the
pages' libraries are made of.

Run by a maintainer, `make lock-jars`; needs `mvn` on PATH. A user never runs it:
`app.platform.fetch` gets exactly what the lock names and refuses anything else. To move to another
Kafka, registry or library, change the versions below, run it, read the diff, run `make test`.
"""

import hashlib
import subprocess
import tempfile
from pathlib import Path

KAFKA = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    # what Kafka logs through; without it a broker is silent. The version of Kafka's own log4j-core.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)
REGISTRY = "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all"
# What browsers load, each by itself: what an npm package depends on is in its own bundle.
WEB = (
    "org.webjars.npm:chart.js:4.4.1",
    "org.webjars.npm:htmx.org:2.0.4",
    "org.webjars.npm:htmx-ext-sse:2.2.2",
    "org.webjars.npm:axe-core:4.6.3",  # the tests' accessibility rules; no page loads it
)
LOCK = Path(__file__).with_name("jars.lock")

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>npp</groupId><artifactId>jars</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = """<dependency>
  <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
</dependency>"""


def mvn(folder: Path, *args: str) -> None:
    subprocess.run(["mvn", "-q", "-B", *args], cwd=folder, check=True)


def line(group: str, artifact: str, version: str, kind: str, classifier: str, file: Path) -> str:
    data = file.read_bytes()
    coordinates = ":".join((group, artifact, version, kind, classifier))
    return f"{coordinates} sha256={hashlib.sha256(data).hexdigest()} size={len(data)}"


def kafka_lines(folder: Path) -> list[str]:
    """The broker with everything it needs at run time, one line a jar."""
    dependencies = "".join(DEPENDENCY.format(*one.split(":")) for one in KAFKA)
    (folder / "pom.xml").write_text(POM.format(dependencies=dependencies))
    libs = folder / "libs"
    mvn(
        folder,
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        "-Dmdep.useRepositoryLayout=true",
        f"-DoutputDirectory={libs}",
    )
    lines = []
    for jar in sorted(libs.rglob("*.jar")):
        *group_parts, artifact, version, _ = jar.relative_to(libs).parts
        rest = jar.stem.removeprefix(f"{artifact}-{version}").lstrip("-")
        lines.append(line(".".join(group_parts), artifact, version, "jar", rest, jar))
    return lines


def registry_line(folder: Path) -> str:
    group, artifact, version, kind, classifier = REGISTRY.split(":")
    mvn(folder, "dependency:copy", f"-Dartifact={REGISTRY}", f"-DoutputDirectory={folder}")
    file = folder / f"{artifact}-{version}-{classifier}.{kind}"
    return line(group, artifact, version, kind, classifier, file)


def web_lines(folder: Path) -> list[str]:
    lines = []
    for each in WEB:
        group, artifact, version = each.split(":")
        mvn(folder, "dependency:copy", f"-Dartifact={each}", f"-DoutputDirectory={folder}")
        lines.append(
            line(group, artifact, version, "jar", "", folder / f"{artifact}-{version}.jar")
        )
    return lines


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [*kafka_lines(folder), registry_line(folder), *web_lines(folder)]
    LOCK.write_text("\n".join(lines) + "\n")
    print(f"{LOCK.name}: {len(lines)} artifacts")


if __name__ == "__main__":
    main()
