"""Generation and member, read from the bytes of the pinned client."""

from __future__ import annotations

import importlib.metadata

import pytest

from engine.loop.groupmeta import GroupMetadata, UnknownFormat, parse


def test_the_pinned_client_is_the_one_whose_group_metadata_we_read() -> None:
    """A new client version must be looked at before its group metadata is trusted."""
    assert importlib.metadata.version("confluent-kafka") == "2.16.0"


def test_generation_and_member_are_read_from_the_pinned_format() -> None:
    """`CGMDv2:`, int32 little-endian, group, member."""
    raw = b"CGMDv2:\x03\x01\x00\x00npp-payments\x00rdkafka-1\x00\x01"
    assert parse(raw) == GroupMetadata(259, "npp-payments", "rdkafka-1")
    assert parse(raw).is_member


@pytest.mark.parametrize(
    "raw",
    [
        b"CGMDv2:\xff\xff\xff\xffgroup\x00rdkafka-1\x00\x01",
        b"CGMDv2:\x01\x00\x00\x00group\x00\x00\x01",
    ],
)
def test_without_generation_or_member_id_it_is_no_member(raw: bytes) -> None:
    """A broker would accept a commit with these unfenced."""
    assert not parse(raw).is_member


@pytest.mark.parametrize(
    "raw", [b"", b"CGMDv1:\x01\x00\x00\x00g\x00m\x00", b"CGMDv2:", "text", None]
)
def test_any_other_format_of_group_metadata_is_refused(raw: object) -> None:
    """Committing would be blind."""
    with pytest.raises(UnknownFormat):
        parse(raw)
