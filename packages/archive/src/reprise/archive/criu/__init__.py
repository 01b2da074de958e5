"""CRIU's image files, read with CRIU's own protobuf definitions.

An image file is one or two little-endian u32 magics and then messages, each after its u32 length. Sources: CRIU
criu/include/magic.h and criu/protobuf.c, go-criu crit/decode.go.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from reprise.archive.criu.pagemap_pb2 import pagemap_entry, pagemap_head
from reprise.archive.criu.stats_pb2 import stats_entry
from reprise.contracts.model import CriuStats

IMG_COMMON_MAGIC = 0x54564319
IMG_SERVICE_MAGIC = 0x55105940
PAGEMAP_MAGIC = 0x56084025
STATS_MAGIC = 0x57093306
MAX_MESSAGE = 1 << 20
MAX_PAGES = 1 << 45
PE_PRESENT = 4
"""pagemap_entry.flags: the pages are in this image's pages file (criu/include/pagemap.h)."""

M = TypeVar("M", bound=Message)


class BadImage(ValueError):
    """Not an image of the expected kind; the message says what is wrong."""


def messages(data: bytes, *magics: int, most: int = MAX_MESSAGE) -> Iterator[bytes]:
    """The raw messages, of `most` bytes each at most, of an image whose first magics are these. Raises BadImage."""
    head = struct.pack(f"<{len(magics)}I", *magics)
    if data[: len(head)] != head:
        raise BadImage("another magic")
    at = len(head)
    while at < len(data):
        if at + 4 > len(data):
            raise BadImage("cut off in a length")
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if size > most or at + size > len(data):
            raise BadImage(f"a message of {size} bytes is longer than the image")
        yield data[at : at + size]
        at += size


def parse(message: M, data: bytes) -> M:
    """Fills the message. Raises BadImage."""
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise BadImage(f"no {type(message).__name__}: {error}") from error
    if not message.IsInitialized():
        raise BadImage(f"a {type(message).__name__} lacks a field")
    return message


class PageRun(NamedTuple):
    """nr pages that lie together, from virtual address vaddr (bytes); they follow one another in the pages file."""

    vaddr: int
    nr: int


def read_pagemap(data: bytes) -> tuple[int, list[PageRun]]:
    """(N of pages-N.img, the runs whose pages are in it, in file order). Raises BadImage."""
    found = messages(data, IMG_COMMON_MAGIC, PAGEMAP_MAGIC)
    head = parse(pagemap_head(), next(found, b""))
    runs = []
    for message in found:
        entry = parse(pagemap_entry(), message)
        present = entry.flags & PE_PRESENT if entry.HasField("flags") else not entry.in_parent
        # CRIU 4.2 and later write nr_pages, of 64 bits, and 0 into the field that all others read.
        count = entry.nr_pages if entry.HasField("nr_pages") else entry.compat_nr_pages
        if count > MAX_PAGES:
            raise BadImage(f"a run of {count} pages is longer than any address space")
        if present:
            runs.append(PageRun(entry.vaddr, count))
    return head.pages_id, runs


def read_stats(data: bytes) -> CriuStats:
    """A stats-dump. Statistics that cannot be read are all zero: they are told to people and decide nothing."""
    entry = _stats(data)
    if entry is None:
        return CriuStats()
    dump = entry.dump
    return CriuStats(
        freezing_time_us=dump.freezing_time,
        frozen_time_us=dump.frozen_time,
        memdump_time_us=dump.memdump_time,
        memwrite_time_us=dump.memwrite_time,
        pages_scanned=dump.pages_scanned,
        pages_skipped_parent=dump.pages_skipped_parent,
        pages_written=dump.pages_written,
    )


def _stats(data: bytes) -> stats_entry | None:
    """None if it cannot be read."""
    try:
        return parse(stats_entry(), next(messages(data, IMG_SERVICE_MAGIC, STATS_MAGIC), b""))
    except BadImage:
        return None
