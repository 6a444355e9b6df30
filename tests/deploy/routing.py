"""The shipped routes, adapted to the tools that tests have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from tests.rooms import ROOT

SHIPPED: Final = ROOT / "deploy" / "prometheus" / "alertmanager.yml"
ADDRESS: Final = "http://127.0.0.1:9/pager"  # nothing listens there


def shipped() -> dict[str, Any]:
    """The file as compose gives it to Alertmanager."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


def address_files() -> dict[str, list[str]]:
    """Per receiver, the files with its webhooks' URLs."""
    return {
        each["name"]: [hook["url_file"] for hook in each["webhook_configs"]]
        for each in shipped()["receivers"]
    }


def with_addresses(folder: Path) -> Path:
    """The same with a URL in place of each file: Debian's Alertmanager 0.25 lacks `url_file`, which
    came with 0.26.
    """
    config = shipped()
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            del hook["url_file"]
            hook["url"] = ADDRESS
    path = folder / SHIPPED.name
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
