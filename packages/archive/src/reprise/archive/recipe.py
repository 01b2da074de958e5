"""Codecs of the two binary documents: a checkpoint's recipe and a pack's footer. docs/format.md has them to the byte."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard
from reprise.archive.pages import HASH, Hashes

RECIPE_HEAD = struct.Struct("<8sIII")
RECIPE_MAGIC = b"RPRECIP1"
CHUNK_ROW = np.dtype(
    [("pack", "<u4"), ("ordinal", "<u4"), ("offset", "<u4"), ("stored", "<u4"), ("size", "<u4"), ("flags", "<u4")]
)
RUN_ROW = np.dtype([("chunk", "<u4"), ("start", "<u4"), ("length", "<u8")])
FOOTER_HEAD = struct.Struct("<8sIII")
FOOTER_MAGIC = b"RPFOOT01"
FOOTER_ROW = np.dtype([("offset", "<u4"), ("stored", "<u4"), ("size", "<u4"), ("flags", "<u4"), ("units", "<u4")])
UNIT_ROW = np.dtype([("hash", "<u8", (2,)), ("size", "<u4")])
ZEROS = 0xFFFFFFFF
COMPRESSED = 1
"""In flags: the chunk is one zstd frame."""
MAX_DOCUMENT = 96 << 20
MAX_CHUNK = 1 << 24
Rows = npt.NDArray[np.void]


class BadDocument(ValueError):
    """Not what the codec wrote."""


@dataclass(frozen=True)
class Recipe:
    """chunks: where each chunk lies (`pack` is an index into the manifest's packs). runs: the archive, in order."""

    chunks: Rows
    runs: Rows

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return int(self.runs["length"].sum())


def encode_recipe(recipe: Recipe) -> bytes:
    """Compressed; the columns lie apart because that is what makes them small."""
    head = RECIPE_HEAD.pack(RECIPE_MAGIC, 1, len(recipe.chunks), len(recipe.runs))
    columns = [rows[name].tobytes() for rows in (recipe.chunks, recipe.runs) for name in rows.dtype.names or ()]
    return zstandard.ZstdCompressor(level=3).compress(head + b"".join(columns))


def decode_recipe(data: bytes, packs: int) -> Recipe:
    """packs: how many the manifest lists. Raises BadDocument if anything in it points outside of anything."""
    plain = _decompress(data)
    if len(plain) < RECIPE_HEAD.size:
        raise BadDocument("it is cut off")
    magic, version, chunk_count, run_count = RECIPE_HEAD.unpack_from(plain)
    if (magic, version) != (RECIPE_MAGIC, 1):
        raise BadDocument("it is no recipe of version 1")
    if len(plain) != RECIPE_HEAD.size + chunk_count * CHUNK_ROW.itemsize + run_count * RUN_ROW.itemsize:
        raise BadDocument("its length does not fit its counts")
    chunks, at = _columns(plain, RECIPE_HEAD.size, CHUNK_ROW, chunk_count)
    runs, _ = _columns(plain, at, RUN_ROW, run_count)
    recipe = Recipe(chunks, runs)
    _check_recipe(recipe, packs)
    return recipe


def _check_recipe(recipe: Recipe, packs: int) -> None:
    chunks, runs = recipe.chunks, recipe.runs
    if (chunks["pack"] >= packs).any() or (chunks["size"] > MAX_CHUNK).any() or (chunks["stored"] > MAX_CHUNK).any():
        raise BadDocument("a chunk is in no pack, or larger than any")
    data = runs[runs["chunk"] != ZEROS]
    if (data["chunk"] >= len(chunks)).any():
        raise BadDocument("a run is of no chunk")
    ends = data["start"].astype(np.uint64) + data["length"]
    if (ends > chunks["size"][data["chunk"]]).any() or (data["length"] > MAX_CHUNK).any() or (runs["length"] >= 1 << 48).any():
        raise BadDocument("a run ends outside of its chunk")


def _columns(data: bytes, at: int, dtype: np.dtype[np.void], count: int) -> tuple[Rows, int]:
    rows = np.empty(count, dtype)
    for name in dtype.names or ():
        column = np.frombuffer(data, dtype[name], count, at)
        rows[name] = column
        at += column.nbytes
    return rows, at


def _decompress(data: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_DOCUMENT:
            raise BadDocument("it is larger than any")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise BadDocument(f"it cannot be decompressed: {error}") from error


@dataclass(frozen=True)
class Footer:
    """chunks: by ordinal. units: of all chunks one after another; a chunk's number of units is in its row."""

    chunks: Rows
    units: Rows

    @property
    def hashes(self) -> Hashes:
        return np.ascontiguousarray(self.units["hash"])


def encode_footer(footer: Footer) -> bytes:
    """Hashes do not compress; the sizes, nearly all of them a page's, do."""
    sizes = zstandard.ZstdCompressor(level=3).compress(footer.units["size"].tobytes())
    head = FOOTER_HEAD.pack(FOOTER_MAGIC, len(footer.chunks), len(footer.units), len(sizes))
    return head + footer.chunks.tobytes() + footer.units["hash"].tobytes() + sizes


def decode_footer(data: bytes) -> Footer:
    """Raises BadDocument."""
    if len(data) < FOOTER_HEAD.size:
        raise BadDocument("it is cut off")
    magic, chunk_count, unit_count, sizes_length = FOOTER_HEAD.unpack_from(data)
    at = FOOTER_HEAD.size
    if magic != FOOTER_MAGIC or len(data) != at + chunk_count * FOOTER_ROW.itemsize + unit_count * HASH + sizes_length:
        raise BadDocument("it is no footer, or of another length")
    chunks = np.frombuffer(data, FOOTER_ROW, chunk_count, at)
    at += chunks.nbytes
    sizes = _decompress(data[at + unit_count * HASH :])
    if len(sizes) != unit_count * 4:
        raise BadDocument("its sizes do not fit its units")
    units = np.empty(unit_count, UNIT_ROW)
    units["hash"] = np.frombuffer(data, "<u8", unit_count * 2, at).reshape(-1, 2)
    units["size"] = np.frombuffer(sizes, "<u4")
    if int(chunks["units"].sum()) != unit_count or (chunks["size"] > MAX_CHUNK).any():
        raise BadDocument("its chunks do not fit their units")
    return Footer(chunks, units)
