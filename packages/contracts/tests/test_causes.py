"""Why CRIU could not dump, by the lines that it writes."""

import re

import pytest
from reprise.contracts.causes import CRIU_CAUSES, of_log

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


def test_each_reason_is_told_once_and_its_pattern_is_one() -> None:
    assert len({cause.reason for cause in CRIU_CAUSES}) == len(CRIU_CAUSES)
    for cause in CRIU_CAUSES:
        re.compile(cause.pattern)
