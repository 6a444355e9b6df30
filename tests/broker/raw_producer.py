"""Produces what the Python client cannot: a header whose name is not UTF-8.

It uses the C library that the client has loaded; an upstream system in another language can do the
same with any producer.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka  # noqa: F401 - loads the library

FLUSH_MS_MAX = 30_000
PRODUCER = 0
# rd_kafka_vtype_t, which names the arguments of rd_kafka_producev
TOPIC, PARTITION, VALUE, KEY, HEADERS, END = 1, 3, 4, 5, 10, 0


def _library() -> ctypes.CDLL:
    maps = Path("/proc/self/maps").read_text().splitlines()
    (path,) = {line.split()[-1] for line in maps if "librdkafka" in line}
    library = ctypes.CDLL(path)
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def produce_with_header(
    bootstrap: str, topic: str, partition: int, key: bytes, value: bytes, name: bytes
) -> None:
    """Produce one record with one header of this name."""
    library = _library()
    said = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    setting = (b"bootstrap.servers", bootstrap.encode())
    assert library.rd_kafka_conf_set(conf, *setting, said, len(said)) == 0, said.value
    producer = ctypes.c_void_p(library.rd_kafka_new(PRODUCER, conf, said, len(said)))
    headers = ctypes.c_void_p(library.rd_kafka_headers_new(1))
    length = ctypes.c_ssize_t(len(name))
    assert library.rd_kafka_header_add(headers, name, length, b"v", ctypes.c_ssize_t(1)) == 0
    error = library.rd_kafka_producev(
        producer,
        *(TOPIC, ctypes.c_char_p(topic.encode())),
        *(PARTITION, ctypes.c_int(partition)),
        *(VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
        *(KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
        *(HEADERS, headers),
        END,
    )
    assert error == 0
    assert library.rd_kafka_flush(producer, FLUSH_MS_MAX) == 0
    library.rd_kafka_destroy(producer)
