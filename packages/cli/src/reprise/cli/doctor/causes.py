"""The table of known causes: for each, what is seen, and what to do about it. Pure: evidence in, verdicts out.

A check returns None where its question does not arise, as those about a workload for a node alone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reprise.archive.criu.volumes import may_start_cold
from reprise.cli.doctor.evidence import Evidence
from reprise.contracts.causes import RESTORE_CAUSES, variables

State = Literal["ok", "problem", "warning", "unknown"]
LEAST_CRIU = (4, 1)
LEAST_RUNTIME = {"cri-o": (1, 34), "containerd": (2, 1)}
"""The engine needs nothing of them but the kubelet's checkpoint call."""
DEFAULT_KUBELET = (1, 30)
NEEDED = ("checkpointer", "transfer", "health-watcher")


@dataclass(frozen=True)
class Verdict:
    """seen: what is so; remedy: what to do, empty if nothing."""

    state: State
    seen: str
    remedy: str = ""


Check = Callable[[Evidence], Verdict | None]


@dataclass(frozen=True)
class Cause:
    """reasons: of `checkpoint.failed` that mean this cause. memory: not asked where a program hands out its state."""

    name: str
    check: Check
    reasons: tuple[str, ...] = ()
    memory: bool = False

    def verdict(self, evidence: Evidence) -> Verdict | None:
        """A checkpoint that failed of it since the last good one counts more than what is seen now."""
        failed = evidence.failure(*self.reasons)
        if failed:
            remedy = failed.get("remedy") or ""
            if evidence.workload and variables(failed["reason"], ""):
                workload = evidence.workload.workload
                remedy = f"{remedy}; `reprise protect {workload.namespace}/{workload.name} --fix` offers to set it".lstrip("; ")
            return Verdict("problem", f"{failed['reason']}: {failed['message']}", remedy)
        return None if self.memory and evidence.policy.mode == "http" else self.check(evidence)


@dataclass(frozen=True)
class Finding:
    """A cause and its verdict."""

    check: str
    verdict: Verdict


def diagnose(evidence: Evidence, causes: Sequence[Cause] | None = None) -> list[Finding]:
    """Every cause that is in question, problems first. causes: CAUSES if not given."""
    found = [Finding(cause.name, verdict) for cause in causes or CAUSES if (verdict := cause.verdict(evidence))]
    known = {reason for cause in CAUSES for reason in cause.reasons}
    odd = [row for row in evidence.failures if row.get("reason") not in known | OVER]
    found += [
        Finding("checkpoint", Verdict("problem", f"{row['reason']}: {row['message']}", row.get("remedy") or ""))
        for row in odd[:1]
    ]
    return sorted(found, key=lambda each: ORDER.index(each.verdict.state))


OVER = {"PodGone", "OtherContainer", "NotRunning", "ArchiveGone"}
"""Failures of a container that is no more: the next one is not affected."""
ORDER = ("problem", "warning", "unknown", "ok")


def version(text: str) -> tuple[int, ...]:
    """The numbers of `v1.34.0` or `cri-o://1.34.0`; empty if there are none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()


def annotated(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    if not e.problems:
        return Verdict("ok", "each that looks like one of ours is read")
    seen = "; ".join(str(problem) for problem in e.problems)
    unread = any(problem.unread for problem in e.problems)
    return Verdict("warning", seen, "correct it, or remove it" if unread else "correct it: the last valid value counts")


def node_ready(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    if not e.node.ready:
        return Verdict("problem", f"{e.node.name} is not Ready", f"`kubectl describe node {e.node.name}` shows why")
    return Verdict("ok", f"{e.node.name} is Ready, kernel {e.node.kernel}, {e.node.architecture}")


def kubelet_feature(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    gate = ((e.kubelet or {}).get("featureGates") or {}).get("ContainerCheckpoint")
    remedy = "set featureGates.ContainerCheckpoint: true in the kubelet's configuration, and restart it"
    told = f"kubelet {e.node.kubelet}"
    if gate is False:
        return Verdict("problem", f"{told}: the feature gate ContainerCheckpoint is off", remedy)
    if gate or e.good:
        return Verdict("ok", f"{told}: ContainerCheckpoint is on")
    if version(e.node.kubelet) < DEFAULT_KUBELET:
        return Verdict(
            "problem", f"{told}: ContainerCheckpoint is off unless it is set, or missing", f"{remedy}; or upgrade to 1.30"
        )
    if e.kubelet is None:
        return Verdict("unknown", f"{told}: on by default; {e.hidden.get('kubelet', 'its configuration was not read')}")
    return Verdict("ok", f"{told}: ContainerCheckpoint is on by default")


def rights(e: Evidence) -> Verdict | None:
    remedy = "`kubectl apply -k deploy/base` grants `create` on `nodes/checkpoint` to reprise-checkpointer"
    if e.rights is None:
        if e.good:
            return Verdict("ok", "checkpointer was let in when it took the last one")
        return Verdict("unknown", e.hidden.get("rights", "not asked"), "")
    if not e.rights:
        return Verdict("problem", "checkpointer may not create nodes/checkpoint", remedy)
    return Verdict("ok", "checkpointer may create nodes/checkpoint")


def reprise_services(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    if e.services is None:
        return Verdict("unknown", e.hidden.get("services", "not seen"))
    missing = [name for name in NEEDED if not e.services.get(name)]
    if missing:
        return Verdict(
            "problem", f"not ready on {e.node.name}: {', '.join(missing)}",
            "`kubectl -n reprise-system get pods -o wide` shows where and `describe` why; a taint may keep them away",
        )  # fmt: skip
    return Verdict("ok", f"{', '.join(NEEDED)} are ready on {e.node.name}")


def runtime(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    name, _, text = e.node.runtime.partition("://")
    least = LEAST_RUNTIME.get(name)
    if least is None:
        return Verdict("problem", f"{e.node.runtime} has no checkpoints", "use containerd 2.1 or CRI-O 1.34, or later")
    if version(text)[:2] < least:
        wanted = ".".join(map(str, least))
        return Verdict("warning", f"{name} {text} is older than what is tested", f"use {name} {wanted} or later")
    return Verdict("ok", f"{name} {text}")


def cgroup(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    if e.cgroup is None:
        return Verdict(
            "unknown", e.hidden.get("cgroup", "the kubelet does not tell"), "`stat -fc %T /sys/fs/cgroup` on the node tells"
        )
    if e.cgroup == 1:
        return Verdict(
            "warning", "cgroup v1", "add deploy/components/cgroup-v1 to your overlay: without it the node is not guarded"
        )
    return Verdict("ok", "cgroup v2")


def kubelet_certificate(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    remedy = "set serverTLSBootstrap: true in the kubelet's configuration and approve its request; or set REPRISE_KUBELET_CA"
    if e.kubelet is None:
        return Verdict("unknown", e.hidden.get("kubelet", "its configuration was not read"), remedy)
    if e.kubelet.get("serverTLSBootstrap"):
        return Verdict("ok", "the cluster signs its serving certificate")
    return Verdict("unknown", "serverTLSBootstrap is off: it may have signed its serving certificate itself", remedy)


def room(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    if "DiskPressure" in e.node.pressure:
        return Verdict("problem", f"{e.node.name} has DiskPressure", "free some: slots and packs lie below /var/lib/reprise")
    return Verdict("ok", "no DiskPressure; up to three times the memory of each protected process lies below /var/lib/reprise")


def engine(e: Evidence) -> Verdict | None:
    """Known by the first checkpoint only: the API server does not tell which OCI runtime a node's runtime calls."""
    if e.node is None:
        return None
    if e.engine_missing:
        data = e.engine_missing.get("data") or {}
        seen = f"{e.node.name}'s runtime does not call reprise-runc, so nothing on it is protected: {data.get('message')}"
        return Verdict("problem", seen, str(data.get("remedy") or INSTALL))
    if e.good:
        return Verdict("ok", "it wrote the last checkpoint")
    return Verdict("unknown", "told by the first checkpoint", INSTALL)


INSTALL = "install the engine on this node: deploy/node/README.md"


def criu(e: Evidence) -> Verdict | None:
    told = e.inspection.facts.criu_version if e.inspection else ""
    if told and version(told) < LEAST_CRIU:
        return Verdict("warning", f"CRIU {told}", "install criu >= 4.1 on the node: older ones fail on newer kernels")
    if told or e.good:
        return Verdict("ok", f"CRIU {told or 'took the last checkpoint'}")
    return Verdict("unknown", "told by the first checkpoint", "`criu --version` on the node is to say 4.1 or later")


def criu_check(e: Evidence) -> Verdict | None:
    if e.good:
        return Verdict("ok", "CRIU dumped this process")
    return Verdict("unknown", "told by the first checkpoint", "`criu check` on the node is to say `Looks good.`")


def base_image(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    ids = {pod.image_ids.get(each["name"], "") for pod in e.pods for each in e.containers} - {""}
    if not ids:
        return Verdict("unknown", "no pod of it runs")
    if any(image.startswith("localhost/") for pod in e.pods for image in pod.images.values()):
        return Verdict("warning", "its image is of no registry", "load it into every node that it may be moved to")
    return Verdict("ok", min(ids)[-80:])


def freezer(e: Evidence) -> Verdict | None:
    if e.node is None:
        return None
    watching = (e.services or {}).get("health-watcher")
    if watching:
        return Verdict("ok", "health-watcher runs; it warns in its log where it cannot freeze")
    return Verdict("unknown", "health-watcher does not run there, or is not seen")


def standby(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    row = e.row or {}
    held, refused = row.get("standby"), row.get("refused")
    if held and held.get("warm"):
        return Verdict("ok", f"{held['node']} holds checkpoint {held['checkpoint_id']}")
    if refused:
        why = f"{refused['reason']}: {refused['message']}"
        return Verdict("problem", f"{refused['node']} refused: {why}", refused.get("remedy") or "")
    return Verdict("unknown", "none holds its checkpoint yet")


def probe(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    unprobed = [each["name"] for each in e.containers if not each.get("livenessProbe")]
    if unprobed:
        return Verdict(
            "warning", f"container {', '.join(unprobed)} has no livenessProbe", "add one: without it no hang is noticed",
        )  # fmt: skip
    for each in e.containers:
        told = each["livenessProbe"]
        patience_s = float(told.get("periodSeconds") or 10) * float(told.get("failureThreshold") or 3)
        if e.pause_s is not None and e.pause_s >= patience_s:
            return Verdict(
                "problem", f"it stands still for {e.pause_s:.1f} s, and its livenessProbe gives up after {patience_s:g} s",
                "raise failureThreshold or periodSeconds, so that their product outlasts the pause",
            )  # fmt: skip
        if patience_s < 2:
            return Verdict(
                "warning",
                f"its livenessProbe gives up after {patience_s:g} s",
                "a pause of a checkpoint may outlast it: raise it",
            )
    pause = f", the pause was {e.pause_s:.2f} s" if e.pause_s is not None else ""
    return Verdict("ok", f"its livenessProbe outlasts the pause{pause}" if pause else "it has a livenessProbe")


def checkpoints_paused(e: Evidence) -> Verdict | None:
    if e.paused is None:
        return None
    data = e.paused.get("data") or {}
    return Verdict("problem", f"{data.get('reason')}: {data.get('message')}", str(data.get("remedy") or ""))


def mptcp(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    if e.inspection and any(socket.protocol == "mptcp" for socket in e.inspection.sockets):
        return Verdict("problem", "the last checkpoint has an MPTCP socket", "set env GODEBUG=multipathtcp=0 on the container")
    return dumped(e, "none, or none that hindered", "servers built with Go >= 1.24 listen with MPTCP: env GODEBUG=multipathtcp=0")


def connections(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    if e.inspection is None:
        return dumped(e, "the last checkpoint stood them", "none: a restore closes them")
    peers = {(socket.local, socket.remote) for socket in e.inspection.sockets if socket.connected}
    if not peers:
        return Verdict("ok", "none was open")
    return Verdict("ok", f"{len(peers)} were open; a restore closes them, and the app is to connect again")


def devices(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    asked = {
        name for each in e.containers for name in (each.get("resources") or {}).get("limits") or {}
        if "/" in name and not name.startswith(("hugepages-", "kubernetes.io/"))
    }  # fmt: skip
    paths = {path for volume in e.workload.spec.get("volumes") or [] if (path := _host_path(volume)).startswith("/dev")}
    if asked or paths:
        return Verdict(
            "problem", f"the pod has devices: {', '.join(sorted(asked | paths))}",
            "CRIU needs a plugin for a device: leave it out, or the workload unprotected",
        )  # fmt: skip
    return Verdict("ok", "the pod asks for none")


def io_uring(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    return dumped(e, "not used, or CRIU would have failed", "CRIU cannot dump it: seccompProfile RuntimeDefault forbids it")


def inotify(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    return dumped(
        e, "not used, or dumped with the rest",
        "a program that watches its own files needs a CRIU newer than 4.2, or polls: DOTNET_USE_POLLING_FILE_WATCHER=1, "
        "CHOKIDAR_USEPOLLING=1",
    )  # fmt: skip


def last_failover(e: Evidence) -> Verdict | None:
    """A warning: it is over, and its next failover would end the same way."""
    if e.workload is None or e.failover is None:
        return None
    row = e.failover
    if row.get("state") == "abandoned" and row.get("reason") in LOST:
        return Verdict(
            "warning", f"it started without its memory: {row['reason']}: {row.get('message')}", str(row.get("remedy") or "")
        )
    return Verdict("ok", f"{row.get('state')}")


LOST = {cause.reason for cause in RESTORE_CAUSES} | {"RestoreFailed"}


def file_locks(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    if e.inspection and e.inspection.locks:
        return Verdict("ok", f"{len(e.inspection.locks)} were held, and are restored")
    return dumped(e, "none, or dumped with the rest", "locks need `file-locks` in engine.json")


def open_on_volumes(e: Evidence) -> Verdict | None:
    if e.workload is None or e.inspection is None:
        return None
    seen, remedy = may_start_cold(e.inspection.facts.sized, e.inspection.facts.emptied)
    if not seen:
        return Verdict("ok", "none that its restore depends on")
    return Verdict("warning", seen, remedy or "mount a volume that comes along to another node, or accept the cold start")


def deleted_files(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    return dumped(
        e,
        "none that is too large",
        "a deleted file that is open must not exceed `ghost-limit` in engine.json",
    )


def mounts(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    local = [volume["name"] for volume in e.workload.spec.get("volumes") or [] if _host_path(volume)]
    if local:
        return Verdict("warning", f"of the node's own disk: {', '.join(local)}", "what is on it is not on another node")
    return Verdict("ok", "none of the node's own disk")


def _host_path(volume: dict[str, object]) -> str:
    told = volume.get("hostPath")
    return str(told.get("path") or "/") if isinstance(told, dict) else ""


def shared_namespaces(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace") if e.workload.spec.get(name)]
    if shared:
        return Verdict(
            "warning", f"the pod has {', '.join(shared)}",
            "a restore fails if a pid, a port or a key that its process had is taken by then: do without",
        )  # fmt: skip
    return Verdict("ok", "of its own")


def terminal(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    told = [each["name"] for each in e.containers if each.get("tty") or each.get("stdin")]
    if told:
        seen = f"container {', '.join(told)} has `tty: true` or `stdin: true`, and would not be restored"
        return Verdict("problem", seen, "run it without")
    return Verdict("ok", "none")


def hooks(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    told = [each["name"] for each in e.containers if (each.get("lifecycle") or {}).get("postStart")]
    if told:
        seen = f"container {', '.join(told)} has a postStart hook, which runs again after each restore"
        return Verdict("warning", seen, "see that it may run twice, in a program that has its memory")
    return Verdict("ok", "none")


def protected(e: Evidence) -> Verdict | None:
    if e.workload is None:
        return None
    if not e.policy.protects:
        name = f"{e.workload.workload.namespace}/{e.workload.workload.name}"
        return Verdict("warning", "it is not protected yet", f"`reprise protect {name}`")
    if e.good:
        return Verdict("ok", f"its newest good checkpoint is {e.good['checkpoint_id']}")
    return Verdict("warning", "it is protected, and no checkpoint is stored yet", "`reprise checkpoint take` takes one now")


def dumped(e: Evidence, well: str, advice: str) -> Verdict:
    """Of what only CRIU can tell: a good checkpoint says that it did not hinder."""
    return Verdict("ok", well) if e.good else Verdict("unknown", "told by the first checkpoint", advice)


def state_api(e: Evidence) -> Verdict | None:
    if e.workload is None or e.policy.mode != "http":
        return None
    asked = f"GET {e.policy.state.path} at port {e.policy.state.port}" if e.policy.state else "GET"
    if e.good:
        return Verdict("ok", f"{asked} gave the last state")
    return Verdict("unknown", f"{asked}: told by the first checkpoint", "docs/pull-state.md has what the program has to do")


STATE = (
    "StateStatus", "StateTimeout", "StateTooLarge", "StateEncoded", "StateRedirect", "StateEmpty", "StateUnreachable",
    "StateCertificate", "StateAccess", "StateUnchanged",
)  # fmt: skip


def passing(e: Evidence) -> Verdict | None:
    """Only known by failures."""
    return None


CAUSES = (
    Cause("protection", protected),
    Cause("annotations", annotated),
    Cause("checkpoints paused", checkpoints_paused, ("PauseOutlastsProbe",)),
    Cause("node", node_ready, ("KubeletUnreachable", "KubeletTimeout", "KubeletError")),
    Cause("Reprise on the node", reprise_services),
    Cause("kubelet feature", kubelet_feature, ("FeatureDisabled",), memory=True),
    Cause("rights", rights, ("Forbidden", "Unauthorized", "KubeletCertificate"), memory=True),
    Cause("runtime", runtime, ("RuntimeDisabled",)),
    Cause("engine", engine, ("EngineMissing",)),
    Cause("CRIU", criu, ("CriuMissing", "CriuTooOld", "Vdso"), memory=True),
    Cause("criu check", criu_check, ("NoSysResource", "DiskFull"), memory=True),
    Cause("base image", base_image),
    Cause("freezer", freezer, ("Frozen",)),
    Cause("standby", standby),
    Cause("last failover", last_failover),
    Cause("livenessProbe", probe, ("UnhealthyAfter", "UnhealthyBefore")),
    Cause("state API", state_api, STATE),
    Cause("MPTCP", mptcp, ("MptcpSocket",), memory=True),
    Cause("TCP connections", connections, memory=True),
    Cause("in-flight connection", passing, ("InFlightConnection",)),
    Cause("devices", devices, ("Device",), memory=True),
    Cause("io_uring", io_uring, ("IoUring",), memory=True),
    Cause("inotify", inotify, ("Inotify",), memory=True),
    Cause("file locks", file_locks, ("FileLocks",), memory=True),
    Cause("files on volumes", open_on_volumes, memory=True),
    Cause("deleted files", deleted_files, ("GhostFile",), memory=True),
    Cause("other files", passing, ("UnsupportedFile", "ExternalUnixSocket")),
    Cause("mounts", mounts, ("Mount",)),
    Cause("namespaces", shared_namespaces, memory=True),
    Cause("terminal", terminal, ("Terminal",), memory=True),
    Cause("postStart hook", hooks, memory=True),
)
SEEN_BEFORE = ("node", "kubelet feature", "runtime", "CRIU", "criu check")
BEFORE_INSTALL = (
    *(cause for cause in CAUSES if cause.name in SEEN_BEFORE),
    Cause("kubelet certificate", kubelet_certificate),
    Cause("cgroup", cgroup),
    Cause("disk", room),
)
"""What a node needs before Reprise is there."""
