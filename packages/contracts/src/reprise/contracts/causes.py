"""Why CRIU could not dump or restore, by what it wrote into its log, and what can be done. Pure.

Each pattern is of messages of CRIU's own, of the source file that is named. Only lines of errors count: at the level that
runtimes ask for, the log speaks of vdso, locks and sockets whatever goes well.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """An environment variable that keeps a program from doing what CRIU cannot dump.

    programs: words by which a container that knows it is told, in its image's name or its command; none: any may know it.
    """

    name: str
    value: str
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cause:
    """reason: of `checkpoint.failed`, or of a failover that restored nothing. passes: it is gone by itself, and worth one more
    try at once. lasts: the next try fails too, unless somebody acts. variables: what may avoid it. seccomp: the
    type of a seccompProfile that forbids it.
    """

    reason: str
    pattern: str
    what: str
    remedy: str
    passes: bool = False
    lasts: bool = True
    variables: tuple[Variable, ...] = ()
    seccomp: str = ""


CONFIGURATION = "criu.config in /etc/reprise/engine.json on the node"
CRIU_CAUSES = (
    # criu/sk-inet.c
    Cause("MptcpSocket", r"Unsupported proto 262", "the process has an MPTCP socket, which CRIU cannot dump",
          "servers built with Go >= 1.24 listen with MPTCP: set env GODEBUG=multipathtcp=0 on the container",
          variables=(Variable("GODEBUG", "multipathtcp=0"),)),
    Cause("InFlightConnection", r"In-flight connection", "a client was between SYN and accept",
          f"add `skip-in-flight` to {CONFIGURATION}", passes=True, lasts=False),
    # criu/file-lock.c
    Cause("FileLocks", r"file locks are hold|--file-locks|Unresolved lock", "the process holds file locks",
          f"add `file-locks` to {CONFIGURATION}"),
    # criu/files.c, criu/files-ext.c: (anon anon_inode:[io_uring]); since Linux 6.7 its file does not even go over a socket
    # (net/core/scm.c): criu/pie/parasite.c, EINVAL
    Cause("IoUring", r"io_uring|send_fds failed \(-22\)|Can't retrieve FDs from socket",
          "the process uses io_uring, which CRIU cannot dump",
          "forbid io_uring by seccompProfile RuntimeDefault, or switch it off in the app (Node and others of libuv: env "
          "UV_USE_IO_URING=0, which newer ones do not heed, Node 20.19 of Debian 13 among them)",
          variables=(Variable("UV_USE_IO_URING", "0", ("node", "nodejs", "npm", "npx", "yarn", "pnpm")),),
          seccomp="RuntimeDefault"),
    # criu/fsnotify.c; cured after 4.2 (checkpoint-restore/criu#3043)
    Cause("Inotify", r"fsnotify: |Can't dump that handle",
          "it watches files (inotify) on the container's own file system, which this CRIU cannot dump",
          "install a CRIU newer than 4.2 on the node, or have the app poll: set env DOTNET_USE_POLLING_FILE_WATCHER=1 (.NET) or "
          "CHOKIDAR_USEPOLLING=1 (Node) on the container; in others, switch the reloading of configuration off",
          variables=(Variable("DOTNET_USE_POLLING_FILE_WATCHER", "1", ("dotnet", "aspnet")),
                     Variable("CHOKIDAR_USEPOLLING", "1", ("node", "nodejs", "npm", "npx", "yarn", "pnpm")))),
    Cause("Device", r"Can't dump file .*\((chr|blk) |/dev/(nvidia|dri|kfd)|chardev", "the process has a device open",
          "CRIU needs a plugin for this device: leave the device out of the pod, or the pod unprotected"),
    Cause("UnsupportedFile", r"Can't dump file \d+ of that type", "the process has a file of a kind open that CRIU cannot dump",
          "the message names its kind: have the app close it, or do without"),
    # criu/files-reg.c
    Cause("GhostFile", r"Can't dump ghost file|ghost file.*(limit|too big)", "a deleted file that is open is too large",
          f"raise `ghost-limit` in {CONFIGURATION}"),
    # criu/mount.c
    Cause("Mount", r"Can't lookup mount|doesn't have a proper root mount|mount .* is not supported|[Uu]nsupported mount",
          "a mount of the container cannot be dumped", "leave this volume type out of the pod"),
    # criu/sk-unix.c
    Cause("ExternalUnixSocket", r"External socket is used|Can't dump half of stream unix connection",
          "the process is connected to a unix socket outside of its pod", f"add `ext-unix-sk` to {CONFIGURATION}"),
    # criu/tty.c
    Cause("Terminal", r"Found (dangling|slave) (tty|peer)|--shell-job", "the process has a terminal of another session",
          "run the container without `tty: true` and `stdin: true`"),
    # criu/cr-dump.c
    Cause("NoSysResource", r"Can't get rlimit", "CRIU may not read the limits of a process of another user",
          "give the container runtime CAP_SYS_RESOURCE, or run the container as root"),
    Cause("DiskFull", r"No space left on device", "the node's disk is full", "free some space on the node's disk",
          lasts=False),
    # criu/vdso.c
    Cause("Vdso", r"vdso", "this CRIU does not know this kernel's vdso", "install criu >= 4.1 on the node"),
)  # fmt: skip
UNKNOWN = "CriuFailed"
"""A checkpoint that CRIU refused for a reason that is not in the table."""
LASTING = frozenset({cause.reason for cause in CRIU_CAUSES if cause.lasts} | {UNKNOWN})
"""Reasons of `checkpoint.failed` that each try would meet again, and each try is a pause."""

GROWN = "keep what grows on the container's own file system, which comes along with a checkpoint"
RESTORE_CAUSES = (
    # The engine's own words: engine/internal/create, engine/internal/criu/images.go
    Cause("DoesNotFit", r"does not fit: ", "the pod is not what was checkpointed any more",
          "nothing, if its template was changed since: its next checkpoint fits"),
    Cause("Damaged", r"is damaged|incomplete: |Img trimmed|Magic doesn't match|Unexpected EOF|Reached EOF unexpectedly",
          "the checkpoint is damaged",
          "see the node's disk; `reprise store check --read-data` shows whether the store has it whole"),
    Cause("RestoreTimeout", r"the restore took longer than|no time left: create has to end",
          "the restore took too long", "a faster disk for /var/lib/reprise on the node, or less memory in the app", lasts=False),
    # criu/files-reg.c
    Cause("FileChanged", r"File .* has bad (size|mode|build-ID)",
          "a file that the process has open is not what it was at the checkpoint",
          f"{GROWN}, and leave its program's files alone while it runs"),
    Cause("FileMissing", r"Can't open file |Can't (link|create dir:) ", "a file that the process has open is not there",
          f"{GROWN}; a volume must hold it on the new node too"),
    # criu/sk-inet.c, criu/sk-unix.c
    Cause("AddressTaken", r"Can't bind inet socket|Can't listen on a socket|Address already in use",
          "an address that the process listens on is taken or not there",
          "do without `hostNetwork`, or listen on 0.0.0.0 instead of the pod's own address"),
    Cause("Peer", r"Can't connect inet socket back|[Uu]nix socket .*peer", "a socket's peer is not there any more",
          "connect anew instead of keeping a socket to another pod or the node"),
    # criu/cr-restore.c
    Cause("PidTaken", r"Can't fork for \d+|Pid \d+ do not match|Setting PID failed", "a pid of the process is taken",
          "do without `hostPID` and `shareProcessNamespace`"),
    # criu/arch/x86/cpu.c
    Cause("Cpu", r"CPU .*(do not match|mismatch|unsupported)|FPU feature required by image",
          "this node's CPU lacks what the process uses",
          "keep nodes of one kind in a node pool, and the workload on it by a nodeSelector"),
    # criu/mount.c
    Cause("RestoreMount", r"No mapping for .* mountpoint|mnt: .*(Can't mount|Unable to mount|Can't bind-mount)",
          "a mount of the checkpoint cannot be made", "leave the pod's volumes as they were, and this volume type out of it"),
    # criu/fsnotify.c
    Cause("WatchedFile", r"fsnotify: ", "a file that the process watches (inotify) is not there any more",
          f"{GROWN}, or have the app poll"),
    # criu/pie/restorer.c, criu/lsm.c, criu/seccomp.c
    Cause("Confinement", r"lsm profile|seccomp|Unable to (restore capabilities|drop capability|set real, effective)",
          "the process's confinement cannot be put back (seccomp, AppArmor, SELinux, capabilities)",
          "give both nodes the same security modules and profiles"),
    # criu/tty.c
    Cause("Terminal", r"tty: ", "the process has a terminal", "run the container without `tty: true` and `stdin: true`"),
    Cause("OutOfMemory", r"Cannot allocate memory|Not enough memory", "there is not enough memory to restore it",
          "raise the container's memory limit, or free some memory on the node", lasts=False),
    Cause("DiskFull", r"No space left on device", "the node's disk is full", "free some space on the node's disk", lasts=False),
    # criu/vdso.c
    Cause("Vdso", r"vdso|vDSO", "this CRIU does not know this kernel's vdso", "install criu >= 4.1 on the node"),
)  # fmt: skip


def error_lines(log: str) -> list[str]:
    """Of CRIU's log: `(00.056653) Error (criu/netfilter.c:105): ...`."""
    return [line.strip() for line in log.splitlines() if "Error" in line]


def of_log(log: str) -> Cause | None:
    """The first known cause that a log of CRIU's dump tells; None for one that is not known."""
    return _first(CRIU_CAUSES, "\n".join(error_lines(log)))


def of_restore(told: str) -> Cause | None:
    """The cause of a restore that failed: told is why, as the engine says it, or the lines of errors of a restore.log."""
    return _first(RESTORE_CAUSES, told)


def variables(reason: str, program: str) -> tuple[Variable, ...]:
    """What may avoid the failure of this reason. program: the container's image and command; those that are meant for it if any
    is, else all.
    """
    found = tuple(variable for cause in CRIU_CAUSES if cause.reason == reason for variable in cause.variables)
    words = set(re.findall(r"[a-z0-9]+", program.lower()))
    return tuple(variable for variable in found if words & set(variable.programs)) or found


def seccomp_profile(reason: str) -> str:
    """The type of a seccompProfile that avoids the failure of this reason; empty: none does."""
    return next((cause.seccomp for cause in CRIU_CAUSES if cause.reason == reason and cause.seccomp), "")


def _first(causes: Iterable[Cause], text: str) -> Cause | None:
    return next((cause for cause in causes if re.search(cause.pattern, text)), None)
