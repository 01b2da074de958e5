"""One lab per machine: a lock while a command works, and an owner while the lab is up."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator

from reprise_lab.paths import CHECKOUT, HOME
from reprise_lab.shell import LabError

OWNER = HOME / "owner.json"


def refusal(owner: dict[str, object], checkout: str) -> str:
    """Why this checkout may not touch the lab; empty if it may."""
    if not owner or owner.get("checkout") == checkout:
        return ""
    return (
        f"the lab belongs to the checkout {owner['checkout']} (pid {owner.get('pid')} started it). "
        f"Run `make down` there first; if that checkout is gone: `reprise-lab down --force`"
    )


def owner() -> dict[str, object]:
    try:
        return dict(json.loads(OWNER.read_text()))
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def held(*, claim: bool = False, force: bool = False) -> Iterator[None]:
    """Hold the lock; claim: become the owner. Raises LabError saying who holds it."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LabError(f"another lab command is at work ({file.read().strip()}): wait for it to end") from None
        os.set_inheritable(file.fileno(), False)
        file.truncate(0)
        file.write(f"pid {os.getpid()} in {CHECKOUT}")
        file.flush()
        reason = "" if force else refusal(owner(), str(CHECKOUT))
        if reason:
            raise LabError(reason)
        if claim:
            OWNER.write_text(json.dumps({"checkout": str(CHECKOUT), "pid": os.getpid()}))
        yield
