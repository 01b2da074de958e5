"""What booting the lab changes on the host itself, and putting it back."""

import json
from pathlib import Path

from reprise_lab.paths import HOME
from reprise_lab.shell import run

SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""A kubelet sets these; they are not namespaced."""
NETNS_DIR = Path("/run/netns")
RECORD = HOME / "host-before.json"


def mounted(path: Path) -> bool:
    return any(line.split()[1] == str(path) for line in Path("/proc/self/mounts").read_text().splitlines())


def remember() -> None:
    """Before the first boot; a record that is there is of an earlier, interrupted one, and counts."""
    if RECORD.exists():
        return
    before = {name: Path("/proc/sys", name).read_text().strip() for name in SYSCTLS}
    RECORD.write_text(json.dumps({"sysctls": before, "netns_mounted": mounted(NETNS_DIR)}))


def put_back() -> None:
    """`ip netns add` leaves /run/netns mounted on itself; the kubelet leaves its sysctls."""
    if not RECORD.exists():
        return
    before = json.loads(RECORD.read_text())
    for name, value in before["sysctls"].items():
        Path("/proc/sys", name).write_text(value)
    if not before["netns_mounted"] and mounted(NETNS_DIR) and not any(NETNS_DIR.iterdir()):
        run("umount", NETNS_DIR, check=False)
    RECORD.unlink()
