"""What the checkpoint store costs, beside restic and borg: on the same file, cores and disk, encrypted, in turn.

Needs restic and borgbackup (apt-get install restic borgbackup) and the lab's MinIO (`make build`). By itself:
    python tests/bench/store.py [--mib 1024] [--pairs 2]
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import checkpoints
from disk import DiskStore
from reprise.archive.repository import Repository
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Store
from reprise.archive.testing import FixedKeys
from reprise.contracts.errors import StoreError
from reprise.contracts.model import Target, Workload
from rows import Row

MIB = 1 << 20
WORKLOAD = Workload(namespace="bench", name="large")
TARGET = Target(node="n1", pod="large-1", pod_uid="u1", container="counter", container_id="c1")
SECRET = "bench-only-secret"
MINIO = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reprise-lab/bin/minio"


@dataclass(frozen=True)
class Server:
    """MinIO with an empty store, as the overlays run it."""

    endpoint: str
    pid: int

    def cores_s(self) -> float:
        """Seconds of cores that it, this process and its ended children have used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(os.times()[:4]) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def minio(folder: Path) -> Iterator[Server]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
    env = os.environ | {"MINIO_ROOT_USER": "reprise", "MINIO_ROOT_PASSWORD": SECRET}
    command = [str(MINIO), "server", str(folder / "minio"), "--address", endpoint, "--quiet", "--no-compat"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(bucket(endpoint, "ready"))
            yield Server(endpoint, server.pid)
        finally:
            server.send_signal(signal.SIGKILL)
            shutil.rmtree(folder / "minio", ignore_errors=True)


def bucket(endpoint: str, name: str) -> Store:
    known = {"endpoint": endpoint, "access_key": "reprise", "secret_key": SECRET, "bucket": name}
    return s3_store(StoreSettings.model_validate(known))


def _made(store: Store) -> Store:
    store.check()  # makes the bucket
    return store


def _wait(store: Store) -> None:
    for _ in range(200):
        try:
            return store.check()
        except StoreError:
            time.sleep(0.05)
    raise TimeoutError("MinIO does not answer")


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


class Ours:
    """Reprise's repository, without a node's cache, as restic runs without one."""

    def __init__(self, store: Store) -> None:
        self.repository, self._number = Repository(_made(store), FixedKeys()), 0
        self.uploaded = 0

    def ingest(self, path: Path) -> None:
        self._number += 1
        before = self.repository.stats().stored if self._number > 1 else 0
        self.manifest = self.repository.write_archive(
            path, checkpoint_id=f"{self._number:04d}", workload=WORKLOAD, target=TARGET, trigger="demand"
        )
        self.uploaded = self.repository.stats().stored - before

    def read(self, out: Path) -> None:
        with out.open("wb") as file:
            for data in self.repository.read_archive(self.manifest):
                file.write(data)

    def size(self) -> int:
        return self.repository.stats().stored

    def where(self) -> str:
        """Seconds by step, summed over threads."""
        clock = self.repository.clock
        assert clock, "nothing was stored yet"
        return ", ".join(f"{step} {spent:.2f}" for step, spent in clock.spent.items())


class Restic:
    """Into the same MinIO."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._store, self._env = bucket(endpoint, name), os.environ | {
            "RESTIC_REPOSITORY": f"s3:http://{endpoint}/{name}", "RESTIC_PASSWORD": SECRET, "AWS_ACCESS_KEY_ID": "reprise",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }  # fmt: skip
        self._run("init")

    def _run(self, *arguments: str) -> None:
        subprocess.run(["restic", "--no-cache", "--quiet", *arguments], env=self._env, check=True, stdout=subprocess.DEVNULL)

    def ingest(self, path: Path) -> None:
        self._run("backup", str(path))

    def read(self, out: Path) -> None:
        self._run("restore", "latest", "--target", str(out.parent))

    def size(self) -> int:
        return sum(entry.size for entry in self._store.list(""))


class Borg:
    """Into a repository on the same disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._env = os.environ | {"BORG_PASSPHRASE": SECRET, "BORG_BASE_DIR": str(folder.parent / "borg-home")}
        self._run("init", "--encryption", "repokey-blake2", str(folder))

    def _run(self, *arguments: str) -> None:
        subprocess.run(["borg", *arguments], env=self._env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ingest(self, path: Path) -> None:
        self._number += 1
        self._run("create", f"{self._folder}::{self._number}", str(path))

    def size(self) -> int:
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())


def sha256(path: Path) -> None:
    """The yardstick: one pass of sha256 over the file."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def compare(folder: Path, kind: str, fill: checkpoints.Fill, size: int, pairs: int) -> list[Row]:
    """All of one kind of memory: ingest, read back, dirty 5 %, ingest again; each beside the others, in turn."""
    original, path = folder / "original.tar", folder / "archive.tar"
    checkpoints.write(original, size, fill)
    took: dict[str, list[tuple[float, float]]] = {}
    out = folder / "out"
    for pair in range(pairs):
        shutil.copyfile(original, path)
        with minio(folder) as server:

            def note(name: str, act: Callable[[], object], server: Server = server) -> None:
                os.sync()  # what the one before has left to be written is not this one's
                cores_s = server.cores_s()
                wall_s = timed(act)
                took.setdefault(name, []).append((wall_s, server.cores_s() - cores_s))

            endpoint = server.endpoint
            ours, restic, borg = Ours(bucket(endpoint, "ours")), Restic(endpoint, "restic"), Borg(folder / f"borg-{pair}")
            on_disk = Ours(DiskStore(folder / f"disk-{pair}"))
            note("sha256", lambda: sha256(path))
            note("ours", lambda ours=ours: ours.ingest(path))  # type: ignore[misc]
            where = ours.where()
            note("restic", lambda restic=restic: restic.ingest(path))  # type: ignore[misc]
            note("ours on disk", lambda on_disk=on_disk: on_disk.ingest(path))  # type: ignore[misc]
            note("borg", lambda borg=borg: borg.ingest(path))  # type: ignore[misc]
            note("sha256", lambda: sha256(path))
            sizes: tuple[int, ...] = ours.size(), restic.size(), borg.size()
            readers = [("ours read", ours), ("restic read", restic)]
            for name, tool in reversed(readers) if pair % 2 else readers:
                out.mkdir()
                note(name, lambda tool=tool: tool.read(out / "archive.tar"))  # type: ignore[misc]
                shutil.rmtree(out)
            checkpoints.dirty(path, 0.05, fill, 100 + pair)
            note("ours again", lambda ours=ours: ours.ingest(path))  # type: ignore[misc]
            note("restic again", lambda restic=restic: restic.ingest(path))  # type: ignore[misc]
            delta = 100 * ours.uploaded / path.stat().st_size
            sizes = *sizes, ours.size(), restic.size()
        shutil.rmtree(folder / f"borg-{pair}")
        shutil.rmtree(folder / f"disk-{pair}")
    middle = {name: tuple(statistics.median(value) for value in zip(*values, strict=True)) for name, values in took.items()}
    return _rows(kind, size, pairs, middle, sizes, delta, where)


def _rows(
    kind: str, size: int, pairs: int, took: dict[str, tuple[float, ...]], sizes: tuple[int, ...], delta: float, where: str
) -> list[Row]:
    how = f"{size // MIB} MiB {kind}, medians of {pairs} in turn, MinIO --no-compat on the same cores"
    disk = f"{size // MIB} MiB {kind}, medians of {pairs} in turn, both to the same disk, each file synced"

    def spent(name: str) -> str:
        wall_s, cores_s = took[name]
        return f"{wall_s:.2f} s ({cores_s:.1f} s of cores)"

    def beside(name: str, other: str) -> str:
        return f"{other} {spent(other)}, ours {spent(name)}"

    def ratio(name: str, other: str) -> float:
        return took[other][0] / took[name][0]

    def row(name: str, value: float, unit: str, goal: str, baseline: str, told: str = how) -> Row:
        return Row(f"store.{name}.{kind}", value, unit, goal, baseline, told)

    ours, restic, borg, ours_both, restic_both = sizes
    both = f"both checkpoints stored: ours {ours_both / MIB:.0f} MiB, restic {restic_both / MIB:.0f}"
    stored = f"stored: ours {ours / MIB:.0f} MiB, restic {restic / MIB:.0f}, borg {borg / MIB:.0f}"
    return [
        row("delta_bytes_pct", delta, "%", "<= 7", "5 % of its pages dirtied at random", "bytes that the store grew by"),
        row("ingest_vs_sha256", 1 / ratio("ours", "sha256"), "x", "<= 3", beside("ours", "sha256"), f"{how}; spent: {where}"),
        row("ingest_vs_restic", ratio("ours", "restic"), "x faster", ">= 2", beside("ours", "restic"), f"{how}; {stored}"),
        row("ingest_vs_borg", ratio("ours on disk", "borg"), "x faster", ">= 2", beside("ours on disk", "borg"), disk),
        row("size_vs_restic", ours / restic, "x", "<= 1", stored),
        row("size_vs_borg", ours / borg, "x", "<= 1", stored),
        row("size_of_both_vs_restic", ours_both / restic_both, "x", "<= 1", both),
        row("reingest_vs_restic", ratio("ours again", "restic again"), "x faster", ">= 3", beside("ours again", "restic again")),
        row("read_vs_restic", ratio("ours read", "restic read"), "x faster", ">= 2", beside("ours read", "restic read")),
    ]


def memory(folder: Path, size: int) -> list[Row]:
    """Resident memory of a process that stores an archive twice, 5 % dirty in between, and reads it back."""
    path = folder / "large.tar"
    checkpoints.write(path, size, checkpoints.noise)
    with minio(folder) as server:
        command = [sys.executable, __file__, "--inside", server.endpoint, str(path)]
        env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "4000000", "MALLOC_ARENA_MAX": "2"}  # as in deploy/base/transfer.yaml
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    path.unlink()
    how = f"largest resident size of a process of its own, {size // MIB} MiB incompressible: ingest, 5 % dirty, ingest, read"
    return [Row("store.rss_mib", float(told.stdout), "MiB", "<= 256", "", how)]


def _inside(endpoint: str, path: Path) -> None:
    ours = Ours(bucket(endpoint, "ours"))
    ours.ingest(path)
    subprocess.run([sys.executable, __file__, "--dirty", str(path)], check=True)
    ours.ingest(path)
    for _ in ours.repository.read_archive(ours.manifest):
        pass
    # Not getrusage's ru_maxrss: that begins with what the parent had when it forked.
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


def measure(size: int = 1024 * MIB, large: int = 4096 * MIB, pairs: int = 2) -> list[Row]:
    """Every figure. Needs about 4 times `large` bytes of disk."""
    with tempfile.TemporaryDirectory(prefix="store-bench-") as name:
        folder = Path(name)
        process = checkpoints.Process(round(size * (1.1 + 0.05 * pairs)), folder / "memory")
        fills: dict[str, checkpoints.Fill] = {"cpython": process, **checkpoints.FILLS}
        found = [row for kind, fill in fills.items() for row in compare(folder, kind, fill, size, pairs)]
        return found + (memory(folder, large) if large else [])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--large-mib", type=int, default=4096)
    options.add_argument("--pairs", type=int, default=2)
    options.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--dirty", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.inside:
        return _inside(given.inside[0], Path(given.inside[1]))
    if given.dirty:
        return checkpoints.dirty(Path(given.dirty), 0.05, checkpoints.noise, 7)
    for row in measure(given.mib * MIB, given.large_mib * MIB, given.pairs):
        print(json.dumps(asdict(row)))
    return None


if __name__ == "__main__":
    main()
