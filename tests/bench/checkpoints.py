"""Checkpoint archives for the bench: CRI-O's members, CRIU's real image formats, and memory that looks like memory."""

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reprise.archive.testing import members, pagemap

PAGE = 4096
MIB = 1 << 20
Fill = Callable[[np.random.Generator, int], bytes]


def heap(rng: np.random.Generator, size: int) -> bytes:
    """As a language runtime's heap: pointers, small numbers, empty words, a little that is random. zstd makes it a third."""
    words = np.zeros(size // 8, np.uint64)
    kind = rng.random(size // 8)
    pointers, numbers, noise = kind < 0.3, (kind >= 0.3) & (kind < 0.6), kind > 0.95
    words[pointers] = 0x7F0000000000 + rng.integers(0, 1 << 26, int(pointers.sum()), dtype=np.uint64) // 16 * 16
    words[numbers] = rng.integers(0, 200, int(numbers.sum()), dtype=np.uint64)
    words[noise] = rng.integers(0, 1 << 63, int(noise.sum()), dtype=np.uint64)
    return words.tobytes()


def noise(rng: np.random.Generator, size: int) -> bytes:
    """As media or ciphertext in memory."""
    return rng.bytes(size)


RECORDS = """
import datetime, random, re, sys
path, size = sys.argv[1], int(sys.argv[2])
rng, kept, index = random.Random(1), [], {}
epoch = datetime.datetime(2026, 1, 1)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
while resident() < size:
    for _ in range(10000):
        number = rng.getrandbits(40)
        record = {"id": number, "name": f"user-{number:x}", "balance": rng.random() * 1000, "tags": rng.sample(range(500), 5),
                  "at": epoch + datetime.timedelta(seconds=rng.randrange(10**7)), "open": rng.random() < 0.5}
        kept.append(record)
        index[number] = record
with open(path, "wb") as out, open("/proc/self/mem", "rb") as memory:
    for line in open("/proc/self/maps").read().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(\\[heap\\])?$", line)
        if found:
            at, end = int(found[1], 16), int(found[2], 16)
            memory.seek(at)
            while at < end:
                block = memory.read(min(end - at, 1 << 22))
                out.write(block)
                at += len(block)
"""


class Process:
    """The memory of a real one, CPython with records in dictionaries and lists, page by page as it lies there."""

    def __init__(self, size: int, file: Path) -> None:
        subprocess.run([sys.executable, "-c", RECORDS, str(file), str(size)], check=True)
        self._memory = file.open("rb")

    def __call__(self, rng: np.random.Generator, size: int) -> bytes:
        block = self._memory.read(size)
        if len(block) < size:
            raise ValueError("the process was smaller than what is asked of it")
        return block


FILLS: dict[str, Fill] = {"compressible": heap, "incompressible": noise}


def write(path: Path, size: int, fill: Fill, seed: int = 1) -> None:
    """An archive whose process has size bytes of memory, in three mappings; written as it is made."""
    rng, pages = np.random.default_rng(seed), size // PAGE
    runs = [(0x400000, pages // 16), (0x7F0000000000, pages - pages // 8), (0x7FFFF0000000, pages // 8 - pages // 16)]
    content = members() | {"checkpoint/pagemap-1.img": pagemap(runs)}
    del content["checkpoint/pages-1.img"]
    with path.open("wb") as file:
        for name, data in content.items():
            file.write(_header(name, len(data)) + data + bytes(-len(data) % 512))
        file.write(_header("checkpoint/pages-1.img", pages * PAGE))
        left = pages * PAGE
        while left:
            block = fill(rng, min(left, 4 * MIB))
            file.write(block)
            left -= len(block)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def dirty(path: Path, share: float, fill: Fill, seed: int) -> None:
    """As a process does in an interval: this share of its pages, scattered at random, is written to."""
    rng = np.random.default_rng(seed)
    with tarfile.open(path) as tar:
        member = next(m for m in tar if m.name == "checkpoint/pages-1.img")
    count = member.size // PAGE
    chosen = np.sort(rng.choice(count, int(count * share), replace=False))
    fresh = fill(rng, len(chosen) * PAGE)
    with path.open("r+b") as file:
        for at, number in enumerate(chosen.tolist()):
            file.seek(member.offset_data + number * PAGE)
            file.write(fresh[at * PAGE : (at + 1) * PAGE])
