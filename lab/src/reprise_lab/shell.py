"""Running commands, and starting and ending the processes that the lab owns by their own pid files."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from reprise_lab.paths import KUBECONFIG, RUN

KUBECTL_LIMIT_S = 180.0
"""Longer than any wait that is asked of it; an API server that stopped in mid-answer would hold it for ever."""


class LabError(Exception):
    """Something the user must know: what failed, and what to do."""


def run(
    *command: object,
    check: bool = True,
    quiet: bool = False,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    limit_s: float | None = None,
) -> str:
    """Run to the end, or until limit_s, and return stdout. Raises LabError with the command's own words."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, env=env, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shlex.join(words[:6])}` did not end within {limit_s:g} s") from error
    if check and done.returncode:
        told = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{shlex.join(words[:6])}` failed ({done.returncode}): {told}")
    if not quiet and done.returncode == 0:
        return done.stdout
    return done.stdout


def poll(seconds: float, ready: Callable[[], bool], what: str, every: float = 0.05) -> None:
    """Wait until ready() holds. Raises LabError naming what was waited for."""
    end = time.monotonic() + seconds
    while True:
        if ready():
            return
        if time.monotonic() > end:
            raise LabError(f"timed out after {seconds:g} s: {what}")
        time.sleep(every)


def reprise(*words: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
    """The CLI of Reprise, by itself, with the lab's kubeconfig; whatever it ends with."""
    command = [sys.executable, "-m", "reprise.cli.main", *words]
    environment = os.environ | {"KUBECONFIG": str(KUBECONFIG)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, env=environment)


def kubectl(*args: str, check: bool = True, stdin: str | None = None) -> str:
    """The lab's own kubectl with its admin kubeconfig."""
    return run(*kubectl_command(), *args, check=check, stdin=stdin, limit_s=KUBECTL_LIMIT_S)


def kubectl_command() -> list[object]:
    from reprise_lab import kind  # which imports our LabError

    return [kind.current().programs / "kubectl", "--kubeconfig", KUBECONFIG]


def gone(pid: int) -> bool:
    """A zombie counts as gone: the machine's own init may take seconds to reap it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    state = next((line for line in status.splitlines() if line.startswith("State:")), "State:\tX")
    return state.split()[1] in "ZX"


def pid_of(name: str) -> int | None:
    """The pid of a daemon of ours, if it lives."""
    try:
        text, *started = (RUN / f"{name}.pid").read_text().split()
        pid = int(text)
    except (OSError, ValueError):
        return None
    if gone(pid) or started != [start_time(pid)]:
        return None  # the number may belong to a stranger by now: it is ours only with the same start time
    return pid


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: with the pid it names one process of this boot."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def write_pid(name: str, pid: int) -> None:
    (RUN / f"{name}.pid").write_text(f"{pid} {start_time(pid)}")


def daemon(name: str, *command: object, before: Callable[[], None] | None = None) -> int:
    """Start a detached process; its pid is in RUN/name.pid, its output in RUN/name.log."""
    alive = pid_of(name)
    if alive:
        return alive
    path = RUN / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=before,  # noqa: PLW1509
        )  # fmt: skip
    write_pid(name, process.pid)
    return process.pid


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def stop(name: str, number: signal.Signals = signal.SIGTERM) -> None:
    """End a daemon, and the process that it forked if it is nsenter."""
    pid = pid_of(name)
    if pid:
        for victim in (*children(pid), pid):
            kill(victim, number)
        end = time.monotonic() + 10
        while not gone(pid) and time.monotonic() < end:
            time.sleep(0.02)
        if not gone(pid):
            kill(pid, signal.SIGKILL)
    (RUN / f"{name}.pid").unlink(missing_ok=True)


def kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
