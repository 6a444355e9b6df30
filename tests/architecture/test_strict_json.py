"""The strict reader for external JSON, and that nothing else reads external JSON."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.strict_json import KEY_CHARACTERS_MAX, UnreadableJson, json_reader, read_json
from tests.rooms import ROOT, sources


class Point(msgspec.Struct):
    x: int
    name: str = ""


UNREADABLE: list[tuple[bytes, str]] = [
    (b'{"x": 1, "x": 2}', "the key 'x' is given twice"),
    (b'{"a": {"b": [{"c": 1, "c": 1}]}}', "the key 'c' is given twice"),
    (b'{"x": 1, "\\u0078": 2}', "the key 'x' is given twice"),
    (b'{"x": "\xff"}', "it is not UTF-8"),
    (b'{"other": "\xe4"}', "it is not UTF-8"),
    (b"[" * 60_000, "it is nested too deep"),
    (b'{"a":' * 60_000, "it is nested too deep"),
    (b"", "it is not valid JSON"),
    (b"{", "it is not valid JSON"),
    (b"\xef\xbb\xbf{}", "it is not valid JSON"),
    (b"NaN", "it is not valid JSON"),
    (b'{"x": Infinity}', "it is not valid JSON"),
    (b'"\\ud800"', "it is not valid JSON"),
    (b"1" * 5_000, "it is not valid JSON"),
    (b"{} {}", "it is not valid JSON"),
    (b"{'x': 1}", "it is not valid JSON"),
]


@pytest.mark.parametrize(("content", "sentence"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_invalid_json_is_one_error(content: bytes, sentence: str) -> None:
    """One error whatever is wrong; a duplicate key is named."""
    for read in (read_json, json_reader(Point), json_reader(dict[str, Any])):
        with pytest.raises(UnreadableJson) as error:
            read(content)
        assert str(error.value) == sentence


def test_a_value_of_another_type_is_the_same_error_and_names_the_path() -> None:
    """The path, not the value."""
    for content in (b'{"x": "secret"}', b'["secret"]', b'{"x": 1e99}', b"{}"):
        with pytest.raises(UnreadableJson, match="another form") as error:
            json_reader(Point)(content)
        assert "secret" not in str(error.value)


def test_a_quoted_key_is_bounded_and_inert() -> None:
    """A quoted key cannot fill a log or move a terminal's cursor."""
    name = "\\u001b[2J" + "k" * 5_000
    with pytest.raises(UnreadableJson) as error:
        read_json(b'{"' + name.encode() + b'": 1, "' + name.encode() + b'": 1}')
    assert str(error.value).isprintable()
    assert len(str(error.value)) < KEY_CHARACTERS_MAX + 60


def test_valid_json_is_read_as_its_type() -> None:
    """Strictness rejects nothing valid."""
    read = json_reader(Point)
    assert read(b'{"x": 1, "name": "\xc3\xa4", "more": [1.5, null]}') == Point(1, "ä")
    assert read_json(b'[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]
    assert read_json(b'"\\ud83d\\ude00"') == "😀"


# Files that may read JSON directly, and why.
OTHERWISE = {
    "schemas/strict_json.py": "it is the one",
    "engine/clients/membership.py": "the statistics of the Kafka client in this process",
    "core/rules.py": "prepares its types; what it reads is YAML that comes with the code",
    "schemas/definitions.py": "our own .avsc files, which come with the code",
    "api/edge/bodies.py": "request bodies: as strict, and names the field in the answer",
    "api/auth/keys.py": "a key set: one member that cannot be read must not hide the others",
    "api/auth/local.py": "the demo issuer's own key file",
    "api/evidence/routes.py": "a pack that was just made",
    "api/queues/views.py": "what we wrote ourselves; shown as text when it cannot be read",
    "readmodel/cursors.py": "any failure is a broken cursor",
    "evidence/verify_evidence.py": "standalone; as strict, and requires the canonical text",
    "evidence/packs/pdf.py": "a pack that was just made, or verified",
    "app/cli/api_client.py": "our own API's answers; what cannot be read is no answer",
    "web/api_client.py": "our own API's answers, in the same process",
    "app/demo/stage.py": "lines of our own processes",
}


def _readers(path: Path) -> bool:
    """Whether a file reads JSON by a function of json, orjson or msgspec.json."""
    text = path.read_text(encoding="utf-8")
    if "json." not in text:
        return False
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in ("loads", "load", "decode", "Decoder"):
            owner = ast.unparse(node.value)
            if owner in ("json", "orjson", "msgspec.json"):
                return True
    return False


def test_no_other_file_reads_external_json() -> None:
    """Finds every reader that catches too little, including the next one."""
    found = {str(path.relative_to(ROOT)) for path in sources() if _readers(path)}
    assert found == set(OTHERWISE)
