"""How chunks are compressed: whatever is chosen, what comes out is what went in."""

import random
import struct

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.packer import BETTER, DOUBLE, FAST, TRY_EACH, _Compressor, compress
from reprise.archive.recipe import COMPRESSED

CHUNK = 1 << 18


def size(parameters: zstandard.ZstdCompressionParameters, data: bytes) -> int:
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


def objects(rng: random.Random) -> bytes:
    """As CPython has numbers: a count, a type, and little that differs."""
    made = bytearray()
    while len(made) < CHUNK:
        if rng.random() < 0.6:
            made += struct.pack("<QQQQ", 1, 0x7FF8_3C65_7CE0, 1, rng.randrange(500))
        elif rng.random() < 0.5:
            made += struct.pack("<QQQQ", 2, 0x7FF8_3C65_7CE0, 2, rng.randrange(1 << 40))
        else:
            made += struct.pack("<QQdQ", 1, 0x7FF8_3C65_5200, rng.random() * 1000, rng.randrange(1 << 16))
    return bytes(made[:CHUNK])


def words(rng: random.Random) -> bytes:
    return b"".join(struct.pack("<Q", 0x7F00_0000_0000 + 16 * rng.randrange(1 << 22)) for _ in range(CHUNK // 8))


@given(st.binary(max_size=3000), st.integers(1, 200))
def test_what_is_compressed_comes_back(part: bytes, times: int) -> None:
    plain = part * times
    packed, flags = compress(memoryview(plain))
    assert (zstandard.ZstdDecompressor().decompress(packed) if flags == COMPRESSED else bytes(packed)) == plain


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    plain = random.Random(1).randbytes(CHUNK)
    packed, flags = compress(memoryview(plain))
    assert (bytes(packed), flags) == (plain, 0)


def test_the_parameters_that_suit_the_memory_are_kept_until_the_next_try() -> None:
    rng, compressor = random.Random(1), _Compressor()
    kinds = {"objects": objects(rng), "words": words(rng)}
    best = {name: min(size(FAST, data), size(DOUBLE, data)) for name, data in kinds.items()}
    assert size(DOUBLE, kinds["objects"]) < size(FAST, kinds["objects"]) * BETTER
    assert size(FAST, kinds["words"]) < size(DOUBLE, kinds["words"])
    for name, data in kinds.items():
        sizes = [len(compressor.compress(memoryview(data))) for _ in range(TRY_EACH)]
        assert set(sizes) == {best[name]}, name
