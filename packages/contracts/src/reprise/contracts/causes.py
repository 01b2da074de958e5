"""Why CRIU could not dump, by what it wrote into dump.log, and what can be done. Pure.

Each pattern is of messages of CRIU's own, of the source file that is named. Only lines of errors count: at the level that
runtimes ask for, the log speaks of vdso, locks and sockets whatever goes well.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """reason: of `checkpoint.failed`. passes: it is gone by itself, and worth one more try at once."""

    reason: str
    pattern: str
    what: str
    remedy: str
    passes: bool = False


CONFIGURATION = "criu.config in /etc/reprise/engine.json on the node"
CRIU_CAUSES = (
    # criu/sk-inet.c
    Cause("MptcpSocket", r"Unsupported proto 262", "the process has an MPTCP socket, which CRIU cannot dump",
          "servers built with Go >= 1.24 listen with MPTCP: set env GODEBUG=multipathtcp=0 on the container"),
    Cause("InFlightConnection", r"In-flight connection", "a client was between SYN and accept",
          f"add `skip-in-flight` to {CONFIGURATION}", passes=True),
    # criu/file-lock.c
    Cause("FileLocks", r"file locks are hold|--file-locks|Unresolved lock", "the process holds file locks",
          f"add `file-locks` to {CONFIGURATION}"),
    # criu/files.c, criu/files-ext.c: (anon anon_inode:[io_uring]); since Linux 6.7 its file does not even go over a socket
    # (net/core/scm.c): criu/pie/parasite.c, EINVAL
    Cause("IoUring", r"io_uring|send_fds failed \(-22\)|Can't retrieve FDs from socket",
          "the process uses io_uring, which CRIU cannot dump",
          "switch io_uring off in the app (libuv: UV_USE_IO_URING=0)"),
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
    Cause("DiskFull", r"No space left on device", "the node's disk is full", "free some space on the node's disk"),
    # criu/vdso.c
    Cause("Vdso", r"vdso", "this CRIU does not know this kernel's vdso", "install criu >= 4.1 on the node"),
)  # fmt: skip


def error_lines(log: str) -> list[str]:
    """Of CRIU's log: `(00.056653) Error (criu/netfilter.c:105): ...`."""
    return [line.strip() for line in log.splitlines() if "Error" in line]


def of_log(log: str) -> Cause | None:
    """The first known cause that CRIU's log tells; None for one that is not known."""
    errors = "\n".join(error_lines(log))
    return next((cause for cause in CRIU_CAUSES if re.search(cause.pattern, errors)), None)
