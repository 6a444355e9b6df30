"""`make sbom`: the image's packages in CycloneDX, matching its lock file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.rooms import ROOT

pytestmark = pytest.mark.slow
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements" / "run.lock").read_text(encoding="utf-8")


def test_the_sbom_has_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    found = re.search(r"^\t@\$\(BIN\)/(cyclonedx-py .*)$", MAKEFILE, flags=re.M)
    assert found is not None
    file = tmp_path / "sbom.json"
    command = found[1].replace("build/sbom.json", str(file)).split()
    command[0] = str(Path(sys.executable).parent / command[0])
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    made = json.loads(file.read_bytes())
    version = SchemaVersion.from_version(made["specVersion"])
    assert JsonStrictValidator(version).validate_str(file.read_text(encoding="utf-8")) is None
    assert made["metadata"]["component"]["name"] == "npp-orchestrator"
    locked = set(re.findall(r"^([\w.-]+)==([^ ]+)", LOCK, flags=re.M))
    assert {(c["name"], c["version"]) for c in made["components"]} == locked
    for component in made["components"]:
        assert component["purl"].startswith("pkg:pypi/"), component["name"]
        assert component["externalReferences"][0]["hashes"], component["name"]
