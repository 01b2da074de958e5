"""Why CRIU could not dump or restore, by the lines that it writes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.causes import CRIU_CAUSES, LASTING, RESTORE_CAUSES, Cause, of_log, of_restore, variables

CHATTER = """(00.031322) vdso: Parsing at 7f4e144aa000 7f4e144ac000
(00.044490) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.050000) Dumping file-locks
"""
FAILED = "(00.057026) Error (criu/cr-dump.c:1975): Dumping FAILED.\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error (criu/sk-inet.c:160): inet: Unsupported proto 262 for socket 2c6d6", "MptcpSocket"),
        ("Error (criu/sk-inet.c:206): inet: In-flight connection (l) for 1f", "InFlightConnection"),
        (
            "Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks to dump them.",
            "FileLocks",
        ),
        ("pie: 1: Error (criu/pie/parasite.c:588): send_fds failed (-22)", "IoUring"),
        ("Error (criu/parasite-syscall.c:1): Can't retrieve FDs from socket", "IoUring"),
        ("Error (criu/files-ext.c:96): Can't dump file 5 of that type [600] (anon anon_inode:[io_uring])", "IoUring"),
        ("Error (criu/fsnotify.c:264): fsnotify: Can't find suitable path for handle (dev 0x36 ino 0xa1): -1", "Inotify"),
        ("Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle", "Inotify"),
        ("Error (criu/files-ext.c:96): Can't dump file 9 of that type [20666] (chr 195:255)", "Device"),
        ("Error (criu/files-ext.c:96): Can't dump file 9 of that type [600] (anon anon_inode:bpf-prog)", "UnsupportedFile"),
        ("Error (criu/files-reg.c:1031): Can't dump ghost file /dev/shm/x of 1052672 size, increase limit", "GhostFile"),
        ("Error (criu/mount.c:753): mnt: 730:./etc/hosts doesn't have a proper root mount", "Mount"),
        ("Error (criu/cr-dump.c:389): Can't get rlimit 0: Operation not permitted", "NoSysResource"),
    ],
)
def test_a_message_of_crius_is_told_by_its_cause(said: str, reason: str) -> None:
    found = of_log(f"{CHATTER}(00.056653) {said}\n{FAILED}")
    assert found
    assert (found.reason, bool(found.remedy)) == (reason, True)


def test_what_a_log_says_of_what_goes_well_is_no_cause() -> None:
    assert of_log(CHATTER + FAILED) is None
    assert of_log("") is None


# As the engine tells them: the first error, without its place in CRIU's source.
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("File data/wal has bad size 122880 (expect 1355776)", "FileChanged"),
        ("File srv/app has bad mode 0100600 (expect 0100644)", "FileChanged"),
        ("File usr/bin/app has bad build-ID", "FileChanged"),
        ("Can't open file data/wal on restore: No such file or directory", "FileMissing"),
        ("inet: Can't bind inet socket (id 5): Address already in use", "AddressTaken"),
        ("inet: Can't connect inet socket back: Connection refused", "Peer"),
        ("Can't fork for 7: File exists", "PidTaken"),
        ("cpu: FPU feature required by image is not supported on host (avx512)", "Cpu"),
        ("CPU instruction capabilities do not match run time", "Cpu"),
        ("mnt: No mapping for 712:/data mountpoint", "RestoreMount"),
        ("mnt: Can't mount at ./data: No such device", "RestoreMount"),
        ("fsnotify: Unable to open srv/app: No such file or directory", "WatchedFile"),
        ("can't write lsm profile -22", "Confinement"),
        ("seccomp: SECCOMP_SET_MODE_FILTER returned -22 on tid 1", "Confinement"),
        ("tty: Can't open master pty 0x7 (index 0)", "Terminal"),
        ("pages-1.img is damaged: 4096 bytes of 8192", "Damaged"),
        ("image.c: Img trimmed 3/8", "Damaged"),
        ("does not fit: its image is another one", "DoesNotFit"),
        ("the restore took longer than 20s", "RestoreTimeout"),
        ("Unable to map ANON_VMA: Cannot allocate memory", "OutOfMemory"),
        ("Can't write img file: No space left on device", "DiskFull"),
        ("vdso: Can't find rt vDSO", "Vdso"),
    ],
)
def test_a_restore_that_failed_is_told_by_its_cause(said: str, reason: str) -> None:
    found = of_restore(f"ck2 cannot be restored: {said}")
    assert found
    assert (found.reason, bool(found.what), bool(found.remedy)) == (reason, True, True)


@pytest.mark.parametrize("told", ["", "Restoring FAILED.", "no checkpoint is there", "it was restored 3 times in a row"])
def test_what_no_message_of_the_table_tells_has_no_cause(told: str) -> None:
    assert of_restore(told) is None


@given(st.text())
def test_no_log_is_too_odd_to_be_looked_at(text: str) -> None:
    for found in (of_log(f"Error: {text}"), of_restore(text)):
        assert found is None or found.remedy


@pytest.mark.parametrize("causes", [CRIU_CAUSES, RESTORE_CAUSES], ids=["dump", "restore"])
def test_each_reason_is_told_once_and_its_pattern_is_one(causes: tuple[Cause, ...]) -> None:
    assert len({cause.reason for cause in causes}) == len(causes)
    for cause in causes:
        re.compile(cause.pattern)


def test_what_passes_by_itself_does_not_last() -> None:
    assert {"InFlightConnection", "DiskFull"} & LASTING == set()
    assert {"IoUring", "Inotify", "MptcpSocket", "CriuFailed"} <= LASTING
    assert not any(cause.passes and cause.lasts for cause in CRIU_CAUSES)


@pytest.mark.parametrize(
    ("reason", "program", "names"),
    [
        ("IoUring", "docker.io/library/python:3.13 python3 app.py", ["UV_USE_IO_URING"]),
        ("MptcpSocket", "registry/shop/cart:7", ["GODEBUG"]),
        ("Inotify", "registry/shop/web:1 node server.js", ["CHOKIDAR_USEPOLLING"]),
        ("Inotify", "mcr.microsoft.com/dotnet/aspnet:9.0", ["DOTNET_USE_POLLING_FILE_WATCHER"]),
        ("Inotify", "registry/nodetalk:1", ["DOTNET_USE_POLLING_FILE_WATCHER", "CHOKIDAR_USEPOLLING"]),
        ("FileLocks", "node server.js", []),
        ("NoSuchReason", "", []),
    ],
)
def test_the_variable_that_may_avoid_a_cause_is_the_programs_own(reason: str, program: str, names: list[str]) -> None:
    assert [variable.name for variable in variables(reason, program)] == names
